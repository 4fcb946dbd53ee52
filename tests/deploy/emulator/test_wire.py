"""Frames as botocore reads them."""

from __future__ import annotations

import json

import pytest
from botocore.eventstream import EventStreamBuffer

from deploy.emulator.http.wire import build_error_frame, build_payload_frame


def read(data: bytes):
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    [message] = list(buffer)
    return message


@pytest.mark.parametrize("payload", [b"", b"a page", bytes(200_000)])
def test_a_payload_comes_out_as_it_went_in(payload):
    message = read(build_payload_frame(payload))

    assert message.payload == payload
    assert message.headers == {
        ":event-type": "PayloadPart",
        ":content-type": "application/octet-stream",
        ":message-type": "event",
    }


def test_an_error_carries_its_code():
    message = read(
        build_error_frame("ModelStreamError", "why", ErrorCode="StreamBroken")
    )

    assert message.headers[":message-type"] == "exception"
    assert message.headers[":exception-type"] == "ModelStreamError"
    assert json.loads(message.payload) == {
        "Message": "why",
        "ErrorCode": "StreamBroken",
    }
