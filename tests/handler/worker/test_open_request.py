"""Release of the body of an open request."""

from __future__ import annotations

import threading

from handler.worker.open_request import OpenRequest


def open_request(row) -> OpenRequest:
    return OpenRequest("a", row, {}, threading.Event())


def test_a_body_is_freed_once_its_document_is_elsewhere():
    body = bytearray(b'{"document": "AAAA"}')
    request = open_request({"body": body})

    request.release_row(b"\0\0\0")

    assert not request.row
    assert not body
    assert request.num_bytes == 20


def test_a_body_that_is_the_document_stays():
    body = bytearray(b"%PDF")

    open_request({"body": body}).release_row(body)

    assert body == b"%PDF"


def test_a_body_that_the_document_is_a_part_of_stays():
    body = bytearray(b"--x%PDF--x--")
    document = memoryview(body)[3:7]

    open_request({"body": body}).release_row(document)

    assert document.tobytes() == b"%PDF"
