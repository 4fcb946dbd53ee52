"""Opening and closing of documents, sent with the request or stored in S3."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from handler.errors import (
    DeadlineExceededError,
    EngineError,
    InvalidOptionError,
    UnreadableDocumentError,
)
from handler.http.request import OCRRequest
from handler.reading.open_document import OpenDocument
from handler.schema import Options
from handler.storage.addresses import parse_address
from tests.documents import truncated_pdf
from tests.handler.reading.engines import FakeEngines, num_open_files, pdf_of
from tests.s3 import S3Request


def test_document_stays_readable_until_it_is_closed(open_document):
    document = open_document(pdf_of(1))
    path = Path(document.spool.path)
    assert path.read_bytes() == pdf_of(1)

    document.close()

    with pytest.raises(FileNotFoundError):
        path.open("rb")


@pytest.mark.parametrize(
    ("content", "options", "error"),
    [
        (truncated_pdf(), {}, UnreadableDocumentError),
        (pdf_of(1), {"pages": "2"}, InvalidOptionError),
    ],
    ids=["unreadable", "no such page"],
)
def test_refused_document_leaves_no_open_file(open_document, content, options, error):
    before = num_open_files()

    with pytest.raises(error):
        open_document(content, **options)

    assert num_open_files() == before


@pytest.fixture
def open_in_s3(s3, make_reader):
    """Function that opens the document of a request with a deadline."""
    documents: list[OpenDocument] = []

    def open_it(uri: str, is_cancelled: Callable[[], bool] = lambda: False, **options):
        reader = make_reader(FakeEngines(), document_buckets="docs")
        request = OCRRequest(parse_address(uri), None, Options(**options), None)
        documents.append(reader.open("id", request, time.monotonic(), is_cancelled))
        return documents[-1]

    yield open_it
    for document in documents:
        document.close()


def test_a_document_in_s3_is_opened_like_a_sent_one(s3, open_in_s3):
    document = open_in_s3(s3.put("a.pdf", pdf_of(3)), pages="2-")

    assert Path(document.spool.path).read_bytes() == pdf_of(3)
    assert document.info.media_type == "application/pdf"
    assert document.page_numbers == [2, 3]


def test_invalid_object_in_s3_leaves_no_file(s3, open_in_s3):
    uri = s3.put("a.pdf", truncated_pdf())
    for _ in range(2):  # the second has its connections already
        before = num_open_files()
        with pytest.raises(UnreadableDocumentError):
            open_in_s3(uri)

    # Each reader has connections of its own.
    assert num_open_files() <= before + 2


@pytest.mark.parametrize("why", ["deadline", "client"])
def test_download_stops_at_the_deadline_or_a_disconnect(s3, open_in_s3, why):
    uri = s3.put("a.pdf", pdf_of(1))
    gate, is_waiting = Event(), Event()

    def intercept(request: S3Request) -> None:
        if request.method == "GET":
            is_waiting.set()
            gate.wait(30)

    s3.intercept = intercept

    try:
        if why == "deadline":
            with pytest.raises(DeadlineExceededError):
                open_in_s3(uri, deadline_seconds=2.0)
        else:
            with pytest.raises(EngineError, match="the client has disconnected"):
                open_in_s3(uri, is_waiting.is_set)
    finally:
        gate.set()
