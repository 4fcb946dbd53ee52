"""Deadlines and disconnected clients."""

from __future__ import annotations

import pytest

from handler.errors import DeadlineExceededError
from handler.schema import Status
from tests.handler.reading.engines import (
    TEXT,
    Clock,
    FakeEngines,
    PassingClock,
    code_of,
    pdf_of,
)


@pytest.mark.parametrize(
    ("requested", "setting", "deadline"),
    [(None, 55.0, 155.0), (5.0, 55.0, 105.0), (5.0, None, 105.0), (None, None, None)],
)
def test_deadline_of_the_request_overrides_the_setting(
    make_reader, open_document, requested, setting, deadline
):
    clock = Clock()
    clock.now = 100.0
    reader = make_reader(FakeEngines(), clock, deadline_seconds=setting)

    document = open_document(
        pdf_of(1), reader, received_at=100.0, deadline_seconds=requested
    )

    assert document.deadline == deadline


def test_finished_pages_are_kept_at_the_deadline(make_reader, open_document):
    clock = Clock()
    engines = FakeEngines({3: TEXT}, max_pages_in_flight=2)
    reader = make_reader(engines, clock)
    pages = reader.read_pages(
        open_document(pdf_of(5), reader, received_at=0.0, deadline_seconds=5.0)
    )

    first = next(pages)
    clock.now = 5.0
    rest = list(pages)

    assert (first.page, first.status) == (3, Status.SUCCESS)
    assert [page.page for page in rest] == [1, 2, 4, 5]
    assert {code_of(page) for page in rest} == {"deadline_exceeded"}


def test_page_finished_before_the_deadline_is_kept(make_reader, open_document):
    clock = Clock()
    engines = FakeEngines({3: TEXT}, max_pages_in_flight=2)
    reader = make_reader(engines, clock)
    pages = reader.read_pages(
        open_document(pdf_of(3), reader, received_at=0.0, deadline_seconds=5.0)
    )

    next(pages)
    engines.finish(2)
    clock.now = 5.0
    rest = list(pages)

    assert [(page.page, code_of(page)) for page in rest] == [
        (2, None),
        (1, "deadline_exceeded"),
    ]
    assert engines.cancelled == [1]


def test_running_pages_are_cancelled_at_the_deadline(make_reader, open_document):
    clock = Clock()
    engines = FakeEngines({3: TEXT}, max_pages_in_flight=2)
    reader = make_reader(engines, clock)
    pages = reader.read_pages(
        open_document(pdf_of(5), reader, received_at=0.0, deadline_seconds=5.0)
    )

    next(pages)
    clock.now = 5.0
    list(pages)

    assert engines.numbers == [1, 2, 3]
    assert sorted(engines.cancelled) == [1, 2]


def test_deadline_is_noticed_while_no_page_finishes(make_reader, open_document):
    engines = FakeEngines()
    reader = make_reader(engines, PassingClock())
    document = open_document(pdf_of(1), reader, received_at=0.0, deadline_seconds=120.0)

    [page] = reader.read_pages(document)

    assert code_of(page) == "deadline_exceeded"
    assert engines.cancelled == [1]


def test_cancelled_reading_stops_and_cancels_its_pages(make_reader, open_document):
    engines = FakeEngines({3: TEXT}, max_pages_in_flight=2)
    is_gone: list[bool] = []
    document = open_document(pdf_of(30), is_cancelled=lambda: bool(is_gone))
    pages = make_reader(engines).read_pages(document)

    next(pages)
    is_gone.append(True)
    rest = list(pages)

    assert not any(page.status is Status.SUCCESS for page in rest)
    assert engines.numbers == [1, 2, 3]
    assert sorted(engines.cancelled) == [1, 2]


def test_closed_iterator_cancels_its_pages(make_reader, open_document):
    engines = FakeEngines({3: TEXT}, max_pages_in_flight=2)
    pages = make_reader(engines).read_pages(open_document(pdf_of(30)))
    next(pages)

    pages.close()

    assert sorted(engines.cancelled) == [1, 2]


def test_finished_reading_cancels_no_page(read):
    engines = FakeEngines(dict.fromkeys((1, 2, 3), TEXT))

    read(pdf_of(3), engines)

    assert engines.cancelled == []


def test_a_document_after_its_deadline_is_not_opened(make_reader, open_document):
    clock = Clock()
    clock.now = 5.0
    reader = make_reader(FakeEngines(), clock)

    with pytest.raises(DeadlineExceededError, match="before this page was read"):
        open_document(b"nothing that can be read", reader, 0.0, deadline_seconds=5.0)
