"""Release of the body of an open request."""

from __future__ import annotations

import threading

from handler.worker.open_request import OpenRequest


def open_request(row) -> OpenRequest:
    return OpenRequest("a", row, {}, threading.Event())


def test_body_is_freed_after_its_document_is_copied():
    body = bytearray(b'{"document": "AAAA"}')
    request = open_request({"body": body})

    request.release_row(b"\0\0\0")

    assert not request.row
    assert not body
    assert request.num_bytes == 20


def test_body_used_as_the_document_is_kept():
    body = bytearray(b"%PDF")

    open_request({"body": body}).release_row(body)

    assert body == b"%PDF"


def test_body_that_contains_the_document_is_kept():
    body = bytearray(b"--x%PDF--x--")
    document = memoryview(body)[3:7]

    open_request({"body": body}).release_row(document)

    assert document.tobytes() == b"%PDF"
