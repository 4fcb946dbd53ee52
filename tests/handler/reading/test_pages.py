"""Order and number of the pages submitted to the engine."""

from __future__ import annotations

import itertools

import pytest

from tests.documents import pdf_with_one_bad_page
from tests.handler.reading.engines import TEXT, FakeEngines, code_of, pdf_of


def test_pages_are_yielded_in_the_order_they_finish(make_reader, open_document):
    engines = FakeEngines({3: TEXT}, max_pages_in_flight=2)
    pages = make_reader(engines).read_pages(open_document(pdf_of(3)))

    order = [next(pages).page]
    for number in (1, 2):
        engines.finish(number)
        order.append(next(pages).page)

    assert order == [3, 1, 2]
    assert list(pages) == []


def test_pages_are_submitted_in_the_order_of_the_document(read):
    engines = FakeEngines(dict.fromkeys(range(1, 6), TEXT), max_pages_in_flight=2)

    read(pdf_of(5), engines)

    assert engines.numbers == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("max_pages_in_flight", [1, 4])
def test_at_most_one_page_more_than_slots_is_in_flight(
    make_reader, open_document, max_pages_in_flight
):
    engines = FakeEngines(max_pages_in_flight=max_pages_in_flight)
    checks = itertools.count(1)
    # The reader checks this before each page, and a few times while it waits.
    document = open_document(
        pdf_of(30), is_cancelled=lambda: next(checks) > max_pages_in_flight + 4
    )

    list(make_reader(engines).read_pages(document))

    assert engines.numbers == list(range(1, max_pages_in_flight + 2))


def test_finished_page_is_replaced_by_the_next(make_reader, open_document):
    engines = FakeEngines({2: TEXT, 3: TEXT}, max_pages_in_flight=1)
    pages = make_reader(engines).read_pages(open_document(pdf_of(30)))

    done = [next(pages).page, next(pages).page]

    assert done == [2, 3]
    assert engines.numbers == [1, 2, 3]
    pages.close()


def test_only_requested_pages_are_read(read):
    engines = FakeEngines({2: TEXT, 4: TEXT})

    pages = read(pdf_of(5), engines, {"pages": "4,2"})

    assert engines.numbers == [2, 4]
    assert pages.keys() == {2, 4}


def test_other_pages_are_read_if_one_cannot_be_decoded(read):
    pages = read(pdf_with_one_bad_page(), FakeEngines({1: TEXT, 3: TEXT}))

    assert {n: code_of(page) for n, page in pages.items()} == {
        1: None,
        2: "unreadable_document",
        3: None,
    }
