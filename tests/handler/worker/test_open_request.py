"""Release of the body of an open request, and its cancellation."""

from __future__ import annotations

import logging
import threading

from handler.worker.open_request import OpenRequest


def make_request(row=None) -> OpenRequest:
    return OpenRequest("a", row or {}, {}, threading.Event())


def test_body_is_freed_after_its_document_is_copied():
    body = bytearray(b'{"document": "AAAA"}')
    request = make_request({"body": body})

    request.release_row(b"\0\0\0")

    assert not request.row
    assert not body
    assert request.num_bytes == 20


def test_body_used_as_the_document_is_kept():
    body = bytearray(b"%PDF")

    make_request({"body": body}).release_row(body)

    assert body == b"%PDF"


def test_body_that_contains_the_document_is_kept():
    body = bytearray(b"--x%PDF--x--")
    document = memoryview(body)[3:7]

    make_request({"body": body}).release_row(document)

    assert document.tobytes() == b"%PDF"


def test_cancelled_request_is_not_disconnected():
    request = make_request()

    request.cancel()

    assert request.is_cancelled
    assert not request.is_disconnected


def test_disconnected_request_is_also_cancelled():
    request = make_request()

    request.disconnect()

    assert request.is_cancelled
    assert request.is_disconnected


def test_request_stays_disconnected_when_it_is_cancelled():
    request = make_request()
    request.disconnect()

    request.cancel()

    assert request.is_disconnected


def test_cancelled_request_can_become_disconnected():
    request = make_request()
    request.cancel()

    request.disconnect()

    assert request.is_disconnected


def test_cancellation_is_logged_once(caplog):
    caplog.set_level(logging.INFO)
    request = make_request()

    request.cancel()
    request.disconnect()

    assert caplog.messages == ["request cancelled"]
