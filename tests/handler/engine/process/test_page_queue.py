"""Whose page is read next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from handler.engine.process.page_queue import WaitingPages


@dataclass(frozen=True)
class Waiting:
    """A page as far as its order matters."""

    request_id: str
    number: int


def pages_of(text: str) -> list[Waiting]:
    """`a1 a2 b1`, as pages."""
    return [Waiting(name[0], int(name[1:])) for name in text.split()]


def waiting(text: str) -> WaitingPages[Waiting]:
    pages: WaitingPages[Waiting] = WaitingPages()
    for page in pages_of(text):
        pages.add(page)
    return pages


def taken(pages: WaitingPages[Waiting]) -> str:
    order = [pages.take() for _ in range(len(pages))]
    return " ".join(f"{page.request_id}{page.number}" for page in order)


def test_requests_take_turns():
    assert taken(waiting("a1 a2 a3 b1 b2 c1")) == "a1 b1 c1 a2 b2 a3"


def test_a_short_document_waits_for_one_page_of_a_long_one():
    pages = waiting("a1 a2 a3 a4")
    pages.take()

    pages.add(Waiting("b", 1))

    assert taken(pages) == "a2 b1 a3 a4"


def test_a_page_put_back_is_next():
    pages = waiting("a1 a2 b1")
    first = pages.take()

    pages.add_first(first)

    assert taken(pages) == "a1 b1 a2"


def test_the_last_page_of_a_request_can_be_put_back_too():
    pages = waiting("a1 b1")
    first = pages.take()

    pages.add_first(first)

    assert taken(pages) == "a1 b1"


def test_a_page_taken_out_is_never_read():
    pages = waiting("a1 a2 b1")

    assert pages.remove(Waiting("a", 1))

    assert taken(pages) == "a2 b1"


def test_the_only_page_of_a_request_takes_the_request_with_it():
    pages = waiting("a1 b1")

    assert pages.remove(Waiting("a", 1))

    assert taken(pages) == "b1"
    assert len(pages) == 0


@pytest.mark.parametrize("name", ["a2", "b1"])
def test_a_page_that_does_not_wait_cannot_be_taken_out(name):
    pages = waiting("a1")

    assert not pages.remove(*pages_of(name))

    assert taken(pages) == "a1"


def test_everybody_who_waits_can_be_asked():
    pages = waiting("a1 a2 b1")

    assert set(pages) == set(pages_of("a1 a2 b1"))
    assert len(pages) == 3


# What may happen: a page of some request arrives, or (None) the next one is taken.
EVENTS = st.lists(st.sampled_from("abcd") | st.none(), max_size=60)


def run(events) -> tuple[list[Waiting], list[Waiting]]:
    """Pages in the order they arrived, and in the order they were taken."""
    pages: WaitingPages[Waiting] = WaitingPages()
    arrived: list[Waiting] = []
    out: list[Waiting] = []
    for number, event in enumerate(events):
        if event is not None:
            arrived.append(Waiting(event, number))
            pages.add(arrived[-1])
        elif len(pages):
            out.append(pages.take())
    while len(pages):
        out.append(pages.take())
    return arrived, out


@given(EVENTS)
def test_every_page_comes_out_once(events):
    arrived, out = run(events)

    assert Counter(out) == Counter(arrived)


@given(EVENTS)
def test_the_pages_of_one_request_come_out_in_their_order(events):
    arrived, out = run(events)

    for name in "abcd":
        assert [p for p in out if p.request_id == name] == [
            p for p in arrived if p.request_id == name
        ]


@given(EVENTS)
def test_no_request_waits_for_more_than_one_page_of_each_other(events):
    pages: WaitingPages[Waiting] = WaitingPages()
    # By request: how many pages of each other went first since its turn came up.
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


@given(EVENTS, st.data())
def test_a_page_put_back_is_always_the_next(events, data):
    pages: WaitingPages[Waiting] = WaitingPages()
    for number, event in enumerate(events):
        if event is not None:
            pages.add(Waiting(event, number))
    for _ in range(data.draw(st.integers(0, len(pages)))):
        page = pages.take()
        num_others = len(pages)

        pages.add_first(page)

        assert len(pages) == num_others + 1
        assert pages.take() == page
