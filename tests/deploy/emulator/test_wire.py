"""Tests of event stream frames, which botocore must be able to read."""

from __future__ import annotations

import json

import pytest
from botocore.eventstream import EventStreamBuffer

from deploy.emulator.http.wire import build_error_frame, build_payload_frame


def parse_frame(data: bytes):
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    [message] = list(buffer)
    return message


@pytest.mark.parametrize("payload", [b"", b"a page", bytes(200_000)])
def test_botocore_reads_payload_frames(payload):
    message = parse_frame(build_payload_frame(payload))

    assert message.payload == payload
    assert message.headers == {
        ":event-type": "PayloadPart",
        ":content-type": "application/octet-stream",
        ":message-type": "event",
    }


def test_botocore_reads_error_frames():
    message = parse_frame(
        build_error_frame("ModelStreamError", "why", ErrorCode="StreamBroken")
    )

    assert message.headers[":message-type"] == "exception"
    assert message.headers[":exception-type"] == "ModelStreamError"
    assert json.loads(message.payload) == {
        "Message": "why",
        "ErrorCode": "StreamBroken",
    }
