"""Fixtures of readers and open documents."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from handler.http.request import OCRRequest
from handler.processes.pool import Pool
from handler.reading.open_document import OpenDocument
from handler.reading.reader import Reader
from handler.schema import Options, PageResult
from handler.settings import HandlerSettings
from tests.handler.processes import called
from tests.handler.reading.engines import TOO_LITTLE_MEMORY, FakeEngines


@pytest.fixture(scope="module")
def decoders():
    pool = Pool(2)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def writers():
    pool = Pool(1)
    yield pool
    pool.close()


@pytest.fixture
def crashing_pool():
    """Pool whose processes crash."""
    pool = Pool(1, memory_bytes=TOO_LITTLE_MEMORY)
    yield pool
    pool.close()


@pytest.fixture
def busy_pool():
    """Pool whose only process is busy until the test ends."""
    pool = Pool(1, modules=[called.__name__])
    with called.keep_process_busy(pool):
        yield pool
    pool.close()


@pytest.fixture
def make_reader(decoders, writers):
    """Function that makes readers; they share pools unless the test passes its own."""

    def make(
        engines: FakeEngines,
        clock: Callable[[], float] = time.monotonic,
        decoders: Pool = decoders,
        writers: Pool = writers,
        **settings: Any,
    ) -> Reader:
        return Reader(HandlerSettings(**settings), engines, decoders, writers, clock)

    return make


@pytest.fixture
def open_document(make_reader):
    """Function that opens documents, which are closed after the test."""
    documents: list[OpenDocument] = []

    def open_and_register(
        content: bytes,
        reader: Reader | None = None,
        received_at: float | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
        document_key: str | None = None,
        **options: Any,
    ) -> OpenDocument:
        reader = reader or make_reader(FakeEngines())
        received_at = time.monotonic() if received_at is None else received_at
        request = OCRRequest(content, None, Options(**options), None)
        documents.append(
            reader.open(
                "id", request, received_at, is_cancelled, document_key or str(uuid4())
            )
        )
        return documents[-1]

    yield open_and_register
    for document in documents:
        document.close()


@pytest.fixture
def read(make_reader, open_document):
    """Function that reads a document and returns the results of its pages by number."""

    def read_document(
        content: bytes, engines: FakeEngines, options: Any = None, **settings: Any
    ) -> dict[int, PageResult]:
        reader = make_reader(engines, **settings)
        pages = reader.read_pages(open_document(content, reader, **(options or {})))
        return {page.page: page for page in pages}

    return read_document
