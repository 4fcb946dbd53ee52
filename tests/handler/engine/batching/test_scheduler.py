"""Admission, preemption and prefill of pages by the scheduler."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from handler.engine.batching.kv_cache import KVSegmentPool
from handler.engine.batching.scheduler import GROWTH, Scheduler


@dataclass(eq=False)
class ScheduledPage:
    """Page that has only the numbers with which the scheduler works."""

    name: str
    num_prompt_tokens: int
    num_output_tokens: int = 0
    num_computed: int = 0
    segment: Any = None

    @property
    def num_tokens(self) -> int:
        return self.num_prompt_tokens + self.num_output_tokens

    def __repr__(self) -> str:
        return self.name


def create_scheduler(
    num_positions=1000, *, max_running_pages=8, chunk=1000, expected=0, drafts=0
) -> Scheduler[ScheduledPage]:
    return Scheduler(
        KVSegmentPool(num_positions),
        max_running_pages=max_running_pages,
        max_prefill_tokens=chunk,
        expected_output_tokens=expected,
        max_draft_tokens=drafts,
    )


def add_pages(scheduler, *lengths: int) -> list[ScheduledPage]:
    pages = [ScheduledPage("abcdefgh"[i], length) for i, length in enumerate(lengths)]
    for page in pages:
        scheduler.add(page)
    return pages


def run_step(scheduler) -> Any:
    """Schedule and run a step as an engine does: computed pages get a token."""
    step = scheduler.schedule()
    for page in step.decode:
        page.num_computed += 1
        page.num_output_tokens += 1
    if step.prefill is not None:
        step.prefill.num_computed += step.num_prefill_tokens
        if step.prefill.num_computed == step.prefill.num_tokens:
            step.prefill.num_output_tokens += 1
    return step


def test_pages_are_admitted_in_order_while_there_is_room():
    scheduler = create_scheduler(100)
    pages = add_pages(scheduler, 40, 50, 30)

    step = scheduler.schedule()

    assert step.admitted == pages[:2]
    assert scheduler.waiting == pages[2:]


def test_short_page_does_not_overtake_a_waiting_one():
    scheduler = create_scheduler(100)
    pages = add_pages(scheduler, 60, 60, 10)

    assert scheduler.schedule().admitted == pages[:1]


def test_number_of_running_pages_is_limited():
    scheduler = create_scheduler(1000, max_running_pages=2)
    pages = add_pages(scheduler, 10, 10, 10)

    assert scheduler.schedule().admitted == pages[:2]


def test_admitted_page_has_room_for_its_expected_output():
    scheduler = create_scheduler(100, expected=30)
    pages = add_pages(scheduler, 30, 30)

    assert scheduler.schedule().admitted == pages[:1]
    assert pages[0].segment.length == 60


def test_single_page_is_admitted_with_less_room():
    scheduler = create_scheduler(50, expected=30)
    [page] = add_pages(scheduler, 30)

    assert scheduler.schedule().admitted == [page]


def test_prompts_are_prefilled_in_chunks_one_after_another():
    scheduler = create_scheduler(chunk=16)
    first, second = add_pages(scheduler, 40, 10)

    steps = [run_step(scheduler) for _ in range(4)]

    assert [(step.prefill, step.num_prefill_tokens) for step in steps] == [
        (first, 16),
        (first, 16),
        (first, 8),
        (second, 10),
    ]


def test_pages_decode_while_another_is_prefilled():
    scheduler = create_scheduler(chunk=16)
    [first] = add_pages(scheduler, 10)
    run_step(scheduler)
    [second] = add_pages(scheduler, 64)

    steps = [run_step(scheduler) for _ in range(4)]

    assert all(step.decode == [first] for step in steps)
    assert all(step.prefill is second for step in steps)
    assert all(step.num_prefill_tokens <= 16 for step in steps)


def test_full_segment_grows():
    scheduler = create_scheduler(1000)
    [page] = add_pages(scheduler, 10)
    run_step(scheduler)

    run_step(scheduler)

    assert page.segment.length == 11 + GROWTH


def test_segment_grows_by_one_if_the_cache_is_nearly_full():
    scheduler = create_scheduler(12)
    [page] = add_pages(scheduler, 10)
    run_step(scheduler)

    run_step(scheduler)

    assert page.segment.length == 11


def test_youngest_page_is_preempted_if_the_cache_is_full():
    scheduler = create_scheduler(21)
    old, young = add_pages(scheduler, 10, 10)

    steps = [run_step(scheduler) for _ in range(3)]

    assert [step.preempted for step in steps] == [[], [], [young]]
    assert steps[-1].decode == [old]
    assert scheduler.waiting == [young]
    assert (young.num_computed, young.segment) == (0, None)


def test_preempted_page_is_admitted_first_and_recomputed():
    scheduler = create_scheduler(21)
    old, young = add_pages(scheduler, 10, 10)
    while not scheduler.waiting:
        run_step(scheduler)
    add_pages(scheduler, 5)
    num_before = young.num_output_tokens

    scheduler.remove(old)
    step = scheduler.schedule()

    assert step.admitted[0] is young
    assert step.prefill is young
    assert step.num_prefill_tokens == 10 + num_before


def test_segment_has_room_for_drafts():
    scheduler = create_scheduler(100, drafts=4)
    [page] = add_pages(scheduler, 10)
    for _ in range(60):
        step = run_step(scheduler)
        for decoded in step.decode:
            assert decoded.num_computed + 4 <= decoded.segment.length
    assert page.num_output_tokens == 60


def test_removed_page_frees_its_segment():
    scheduler = create_scheduler(50)
    first, second = add_pages(scheduler, 40, 40)
    scheduler.schedule()

    scheduler.remove(first)

    assert scheduler.schedule().admitted == [second]


def test_waiting_page_can_be_removed():
    scheduler = create_scheduler(50)
    _, second = add_pages(scheduler, 40, 40)
    scheduler.schedule()

    scheduler.remove(second)

    assert scheduler.waiting == []


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(40, 200), st.integers(0, 5))
def test_random_arrivals_and_removals_starve_no_page(seed, num_positions, drafts):
    """Check that pages progress, and that all segments are freed in the end."""
    rng = random.Random(seed)
    pool = KVSegmentPool(num_positions)
    scheduler: Scheduler[ScheduledPage] = Scheduler(
        pool,
        max_running_pages=rng.randint(1, 6),
        max_prefill_tokens=rng.randint(1, 30),
        expected_output_tokens=rng.randint(0, 30),
        max_draft_tokens=drafts,
    )
    limits: dict[ScheduledPage, int] = {}
    num_ended = 0
    for number in range(2000):
        if number < 300 and rng.random() < 0.1:
            prompt = rng.randint(1, scheduler.max_tokens // 2)
            page = ScheduledPage(str(number), prompt)
            limits[page] = rng.randint(1, scheduler.max_tokens - prompt)
            scheduler.add(page)
        if limits and rng.random() < 0.01:
            scheduler.remove(removed := rng.choice(list(limits)))
            del limits[removed]
        run_step(scheduler)
        for page in list(limits):
            if page.num_output_tokens >= limits[page]:
                scheduler.remove(page)
                del limits[page]
                num_ended += 1
        if number > 300 and not limits:
            break
    if limits:  # Slow pages may need more steps; they must progress.
        before = sum(page.num_output_tokens for page in limits)
        for _ in range(200):
            run_step(scheduler)
        assert sum(page.num_output_tokens for page in limits) > before
        for page in list(limits):
            scheduler.remove(page)
    assert pool.num_free == num_positions


@pytest.mark.parametrize("drafts", [0, 3])
def test_longest_page_is_the_cache_size_minus_its_drafts(drafts):
    assert create_scheduler(100, drafts=drafts).max_tokens == 100 - drafts
