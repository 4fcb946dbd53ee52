"""Order in which waiting pages are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from handler.engine.process.page_queue import PageQueue


@dataclass(frozen=True)
class Waiting:
    """Page that has only a request and a number."""

    request_id: str
    number: int


def pages_of(text: str) -> list[Waiting]:
    """Return the pages of a text such as `a1 a2 b1`."""
    return [Waiting(name[0], int(name[1:])) for name in text.split()]


def make_queue(text: str) -> PageQueue[Waiting]:
    pages: PageQueue[Waiting] = PageQueue()
    for page in pages_of(text):
        pages.add(page)
    return pages


def take_all(pages: PageQueue[Waiting]) -> str:
    order = [pages.take() for _ in range(len(pages))]
    return " ".join(f"{page.request_id}{page.number}" for page in order)


def test_requests_take_turns():
    assert take_all(make_queue("a1 a2 a3 b1 b2 c1")) == "a1 b1 c1 a2 b2 a3"


def test_short_document_waits_for_one_page_of_a_long_one():
    pages = make_queue("a1 a2 a3 a4")
    pages.take()

    pages.add(Waiting("b", 1))

    assert take_all(pages) == "a2 b1 a3 a4"


def test_removed_page_is_never_taken():
    pages = make_queue("a1 a2 b1")

    assert pages.remove(Waiting("a", 1))

    assert take_all(pages) == "a2 b1"


def test_request_ends_with_its_last_removed_page():
    pages = make_queue("a1 b1")

    assert pages.remove(Waiting("a", 1))

    assert take_all(pages) == "b1"
    assert len(pages) == 0


@pytest.mark.parametrize("name", ["a2", "b1"])
def test_remove_returns_false_for_unknown_pages(name):
    pages = make_queue("a1")

    assert not pages.remove(*pages_of(name))

    assert take_all(pages) == "a1"


def test_iteration_yields_all_waiting_pages():
    pages = make_queue("a1 a2 b1")

    assert set(pages) == set(pages_of("a1 a2 b1"))
    assert len(pages) == 3


# Events: a page of the named request arrives, or (None) the next page is taken.
EVENTS = st.lists(st.sampled_from("abcd") | st.none(), max_size=60)


def replay(events) -> tuple[list[Waiting], list[Waiting]]:
    """Return the pages in order of arrival, and in the order of `take`."""
    pages: PageQueue[Waiting] = PageQueue()
    arrived: list[Waiting] = []
    taken: list[Waiting] = []
    for number, event in enumerate(events):
        if event is not None:
            arrived.append(Waiting(event, number))
            pages.add(arrived[-1])
        elif len(pages):
            taken.append(pages.take())
    while len(pages):
        taken.append(pages.take())
    return arrived, taken


@given(EVENTS)
def test_every_page_is_taken_once(events):
    arrived, taken = replay(events)

    assert Counter(taken) == Counter(arrived)


@given(EVENTS, st.data())
def test_removed_pages_are_never_taken(events, data):
    arrived = [Waiting(name, n) for n, name in enumerate(filter(None, events))]
    pages: PageQueue[Waiting] = PageQueue()
    for page in arrived:
        pages.add(page)
    removed = set(data.draw(st.lists(st.sampled_from(arrived)))) if arrived else set()

    results = [pages.remove(page) for page in removed]

    assert results == [True] * len(removed)
    assert not any(pages.remove(page) for page in removed)
    taken = [pages.take() for _ in range(len(pages))]
    assert Counter(taken) == Counter(set(arrived) - removed)


def test_length_counts_waiting_pages_of_all_requests():
    pages = make_queue("a1 a2 b1")

    pages.take()

    assert len(pages) == 2


def test_request_that_returns_comes_last_in_turn():
    pages = make_queue("a1 b1 b2")
    pages.take()

    pages.add(Waiting("a", 2))

    assert take_all(pages) == "b1 a2 b2"


@given(EVENTS)
def test_pages_of_one_request_keep_their_order(events):
    arrived, taken = replay(events)

    for name in "abcd":
        assert [p for p in taken if p.request_id == name] == [
            p for p in arrived if p.request_id == name
        ]


@given(EVENTS)
def test_each_other_request_overtakes_at_most_once(events):
    pages: PageQueue[Waiting] = PageQueue()
    # For each request, the pages of other requests taken since its last turn.
    overtaken: dict[str, Counter[str]] = {}
    for number, event in enumerate([*events, *[None] * len(events)]):
        if event is not None:
            pages.add(Waiting(event, number))
            overtaken.setdefault(event, Counter())
        elif len(pages):
            name = pages.take().request_id
            still_waiting = {page.request_id for page in pages}
            del overtaken[name]
            for others in overtaken.values():
                others[name] += 1
                assert others[name] == 1
            if name in still_waiting:
                overtaken[name] = Counter()
