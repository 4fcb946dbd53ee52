"""Who runs, who waits and who gives way, in numbers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from handler.engine.batching.kv_cache import KVSegmentPool
from handler.engine.batching.scheduler import GROWTH, Scheduler


@dataclass(eq=False)
class Page:
    name: str
    num_prompt_tokens: int
    num_output_tokens: int = 0
    num_computed: int = 0
    segment: Any = None
    history: list[str] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return self.num_prompt_tokens + self.num_output_tokens

    def __repr__(self) -> str:
        return self.name


def scheduler(
    num_positions=1000, *, max_sequences=8, chunk=1000, expected=0, drafts=0
) -> Scheduler[Page]:
    return Scheduler(
        KVSegmentPool(num_positions),
        max_sequences=max_sequences,
        max_prefill_tokens=chunk,
        expected_output_tokens=expected,
        max_draft_tokens=drafts,
    )


def added(scheduler, *lengths: int) -> list[Page]:
    pages = [Page("abcdefgh"[i], length) for i, length in enumerate(lengths)]
    for page in pages:
        scheduler.add(page)
    return pages


def run(scheduler) -> Any:
    """One step, as an engine makes it: each page that is computed says a token."""
    step = scheduler.schedule()
    for page in step.decode:
        page.num_computed += 1
        page.num_output_tokens += 1
    if step.prefill is not None:
        step.prefill.num_computed += step.num_prefill_tokens
        if step.prefill.num_computed == step.prefill.num_tokens:
            step.prefill.num_output_tokens += 1
    return step


def test_pages_are_admitted_in_order_of_arrival_while_there_is_room():
    engine = scheduler(100)
    pages = added(engine, 40, 50, 30)

    step = engine.schedule()

    assert step.admitted == pages[:2]
    assert engine.waiting == pages[2:]


def test_a_short_page_does_not_overtake_one_that_waits_for_room():
    engine = scheduler(100)
    pages = added(engine, 60, 60, 10)

    assert engine.schedule().admitted == pages[:1]


def test_no_more_pages_run_than_allowed():
    engine = scheduler(1000, max_sequences=2)
    pages = added(engine, 10, 10, 10)

    assert engine.schedule().admitted == pages[:2]


def test_a_page_is_admitted_with_room_for_the_answer_it_is_expected_to_give():
    engine = scheduler(100, expected=30)
    pages = added(engine, 30, 30)

    assert engine.schedule().admitted == pages[:1]
    assert pages[0].segment.length == 60


def test_a_page_alone_is_admitted_even_with_less_room_than_expected():
    engine = scheduler(50, expected=30)
    [page] = added(engine, 30)

    assert engine.schedule().admitted == [page]


def test_a_prompt_is_prefilled_in_chunks_and_one_page_after_the_other():
    engine = scheduler(chunk=16)
    first, second = added(engine, 40, 10)

    steps = [run(engine) for _ in range(4)]

    assert [(step.prefill, step.num_prefill_tokens) for step in steps] == [
        (first, 16),
        (first, 16),
        (first, 8),
        (second, 10),
    ]


def test_pages_go_on_decoding_while_another_is_prefilled():
    engine = scheduler(chunk=16)
    [first] = added(engine, 10)
    run(engine)
    [second] = added(engine, 64)

    steps = [run(engine) for _ in range(4)]

    assert all(step.decode == [first] for step in steps)
    assert all(step.prefill is second for step in steps)
    assert all(step.num_prefill_tokens <= 16 for step in steps)


def test_a_page_that_outgrows_its_segment_gets_a_larger_one():
    engine = scheduler(1000)
    [page] = added(engine, 10)
    run(engine)

    run(engine)

    assert page.segment.length == 11 + GROWTH


def test_a_page_takes_only_what_it_needs_where_there_is_little():
    engine = scheduler(12)
    [page] = added(engine, 10)
    run(engine)

    run(engine)

    assert page.segment.length == 11


def test_when_the_pool_is_full_the_youngest_page_gives_way():
    engine = scheduler(21)
    old, young = added(engine, 10, 10)

    steps = [run(engine) for _ in range(3)]

    assert [step.preempted for step in steps] == [[], [], [young]]
    assert steps[-1].decode == [old]
    assert engine.waiting == [young]
    assert (young.num_computed, young.segment) == (0, None)


def test_a_page_that_gave_way_comes_back_first_and_computes_all_again():
    engine = scheduler(21)
    old, young = added(engine, 10, 10)
    while not engine.waiting:
        run(engine)
    added(engine, 5)
    said = young.num_output_tokens

    engine.remove(old)
    step = engine.schedule()

    assert step.admitted[0] is young
    assert step.prefill is young
    assert step.num_prefill_tokens == 10 + said


def test_there_is_room_for_drafts_behind_the_last_token():
    engine = scheduler(100, drafts=4)
    [page] = added(engine, 10)
    for _ in range(60):
        step = run(engine)
        for decoded in step.decode:
            assert decoded.num_computed + 4 <= decoded.segment.length
    assert page.num_output_tokens == 60


def test_a_removed_page_leaves_its_places_to_others():
    engine = scheduler(50)
    first, second = added(engine, 40, 40)
    engine.schedule()

    engine.remove(first)

    assert engine.schedule().admitted == [second]


def test_a_waiting_page_can_be_removed():
    engine = scheduler(50)
    _, second = added(engine, 40, 40)
    engine.schedule()

    engine.remove(second)

    assert engine.waiting == []


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(40, 200), st.integers(0, 5))
def test_every_page_ends_whatever_comes_and_goes(seed, num_positions, drafts):
    """Random arrivals, ends and removals: nobody starves and the pool is whole."""
    rng = random.Random(seed)
    pool = KVSegmentPool(num_positions)
    engine: Scheduler[Page] = Scheduler(
        pool,
        max_sequences=rng.randint(1, 6),
        max_prefill_tokens=rng.randint(1, 30),
        expected_output_tokens=rng.randint(0, 30),
        max_draft_tokens=drafts,
    )
    limits: dict[Page, int] = {}
    num_ended = 0
    for number in range(2000):
        if number < 300 and rng.random() < 0.1:
            prompt = rng.randint(1, engine.max_tokens // 2)
            page = Page(str(number), prompt)
            limits[page] = rng.randint(1, engine.max_tokens - prompt)
            engine.add(page)
        if limits and rng.random() < 0.01:
            engine.remove(gone := rng.choice(list(limits)))
            del limits[gone]
        run(engine)
        for page in list(limits):
            if page.num_output_tokens >= limits[page]:
                engine.remove(page)
                del limits[page]
                num_ended += 1
        if number > 300 and not limits:
            break
    if limits:  # slow ones may need more steps than we gave; they must progress
        before = sum(page.num_output_tokens for page in limits)
        for _ in range(200):
            run(engine)
        assert sum(page.num_output_tokens for page in limits) > before
        for page in list(limits):
            engine.remove(page)
    assert pool.num_free == num_positions


@pytest.mark.parametrize("drafts", [0, 3])
def test_the_longest_page_is_what_the_pool_holds_without_drafts(drafts):
    assert scheduler(100, drafts=drafts).max_tokens == 100 - drafts
