"""Failures of decoders and writers."""

from __future__ import annotations

import os
import signal

import pytest

from bench.soak.bombs import nested_forms
from handler.errors import UnreadableDocumentError
from handler.processes.pool import CallKilledError, Pool
from handler.schema import PageError, Status
from tests.handler.reading.engines import (
    FIGURE,
    SHORT_SECONDS,
    SLOW_IMAGE,
    TEXT,
    Clock,
    FakeEngines,
    code_of,
    page_with_a_red_square,
    pdf_of,
    warnings_of,
)


class KilledWriters(Pool):
    """Pool of writers that are killed from outside with every page."""

    def call_restartable(self, *args, **kwargs):
        raise CallKilledError("the process was ended by SIGKILL")


@pytest.fixture
def make_stopped_pool():
    """Function that makes pools whose idle process was stopped by a signal."""
    pools: list[Pool] = []

    def make() -> Pool:
        pools.append(Pool(1, stall_seconds=0.5))
        os.kill(pools[-1].call(20, os.getpid), signal.SIGSTOP)
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def test_decoder_crash_is_an_unreadable_document(
    make_reader, open_document, crashing_pool
):
    reader = make_reader(FakeEngines(), decoders=crashing_pool)

    pages = list(reader.read_pages(open_document(pdf_of(2))))

    assert [page.error for page in pages] == [
        PageError("unreadable_document", "the decoder crashed on this document")
    ] * 2


def test_decoder_crash_on_opening_refuses_the_document(
    make_reader, open_document, crashing_pool
):
    reader = make_reader(FakeEngines(), decoders=crashing_pool)

    with pytest.raises(
        UnreadableDocumentError, match=r"^the decoder crashed on this document$"
    ):
        open_document(pdf_of(2), reader)


def test_forged_page_does_not_reach_the_engine(make_reader, open_document):
    engines = FakeEngines()
    dishonest = Pool(1, modules=["tests.handler.sandbox.dishonest"])
    reader = make_reader(engines, decoders=dishonest)

    [page] = reader.read_pages(open_document(pdf_of(1), reader))

    dishonest.close()
    assert page.error == PageError(
        "unreadable_document", "the decoder returned no valid page 1"
    )


def test_decoder_timeout_is_an_unreadable_document(make_reader, open_document):
    reader = make_reader(FakeEngines(), decode_seconds=SHORT_SECONDS)

    [page] = reader.read_pages(open_document(SLOW_IMAGE))

    assert page.error == PageError(
        "unreadable_document", "decoding took longer than 0.01 s and was cancelled"
    )


def test_a_document_is_given_up_after_two_slow_pages(make_reader, open_document):
    reader = make_reader(FakeEngines(), decode_seconds=0.5)

    pages = list(reader.read_pages(open_document(nested_forms(5))))

    took_too_long = PageError(
        "unreadable_document", "decoding took longer than 0.5 s and was cancelled"
    )
    given_up = PageError(
        "unreadable_document",
        "decoding took longer than 0.5 s twice; the rest of the document was not "
        "decoded",
    )
    assert [page.error for page in pages] == [took_too_long] * 2 + [given_up] * 3


def test_a_given_up_document_is_rejected_when_it_is_sent_again(
    make_reader, open_document
):
    reader = make_reader(FakeEngines(), decode_seconds=0.5)
    list(reader.read_pages(open_document(nested_forms(2), document_key="digest")))

    with pytest.raises(
        UnreadableDocumentError, match="the rest of the document was not"
    ):
        open_document(nested_forms(2), reader, document_key="digest")


def test_figures_of_a_given_up_document_are_not_cut_out(make_reader, open_document):
    engines = FakeEngines()
    reader = make_reader(engines)
    pages = reader.read_pages(
        open_document(
            page_with_a_red_square(), reader, document_key="same", include_images=True
        )
    )

    def give_up() -> None:
        impatient = make_reader(FakeEngines(), decode_seconds=0.5)
        bomb = open_document(nested_forms(2), document_key="same")
        list(impatient.read_pages(bomb))
        engines.finish(1, FIGURE)

    engines.submitted = give_up
    [page] = pages

    assert page.status is Status.SUCCESS
    assert warnings_of(page) == ["images_missing"]


def test_idle_processes_that_were_stopped_only_delay_a_page(
    make_reader, open_document, make_stopped_pool
):
    reader = make_reader(
        FakeEngines({1: TEXT}),
        decoders=make_stopped_pool(),
        writers=make_stopped_pool(),
    )

    [page] = reader.read_pages(open_document(pdf_of(1), reader))

    assert page.status is Status.SUCCESS


def test_page_that_lost_two_writers_is_overloaded(make_reader, open_document):
    reader = make_reader(FakeEngines({1: TEXT}), writers=KilledWriters(0))

    [page] = reader.read_pages(open_document(pdf_of(1)))

    assert code_of(page) == "overloaded"


def test_deadline_during_decoding_is_deadline_exceeded(make_reader, open_document):
    clock = Clock()
    reader = make_reader(FakeEngines(), clock)
    document = open_document(SLOW_IMAGE, reader, received_at=0.0, deadline_seconds=10.0)
    clock.now = 10.0 - SHORT_SECONDS

    [page] = reader.read_pages(document)

    assert code_of(page) == "deadline_exceeded"


def test_page_without_a_free_decoder_is_overloaded(
    make_reader, open_document, busy_pool
):
    reader = make_reader(
        FakeEngines(), decoders=busy_pool, decode_seconds=SHORT_SECONDS
    )

    pages = list(reader.read_pages(open_document(pdf_of(2))))

    assert [code_of(page) for page in pages] == ["overloaded"] * 2


def test_deadline_while_waiting_for_a_decoder(make_reader, open_document, busy_pool):
    clock = Clock()
    opener = make_reader(FakeEngines(), clock)
    document = open_document(pdf_of(1), opener, received_at=0.0, deadline_seconds=10.0)
    clock.now = 10.0 - SHORT_SECONDS

    [page] = make_reader(FakeEngines(), clock, busy_pool).read_pages(document)

    assert code_of(page) == "deadline_exceeded"


def test_writer_crash_is_an_internal_error_of_its_page(
    make_reader, open_document, crashing_pool
):
    reader = make_reader(FakeEngines({1: TEXT}), writers=crashing_pool)

    [page] = reader.read_pages(open_document(pdf_of(1)))

    assert page.error == PageError(
        "internal", "the model's answer could not be converted"
    )


def test_page_without_a_free_writer_is_overloaded(
    make_reader, open_document, busy_pool
):
    reader = make_reader(FakeEngines({1: TEXT}), writers=busy_pool, decode_seconds=1)

    [page] = reader.read_pages(open_document(pdf_of(1)))

    assert code_of(page) == "overloaded"
