"""Scheduler of the native engine: which pages run in the next step. Integers only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from handler.engine.batching.kv_cache import KVSegment, KVSegmentPool, Move

__all__ = ["Schedulable", "Scheduler", "StepSchedule"]

GROWTH = 128
"""Minimum number of positions by which a segment grows, so that it rarely has to."""


class Schedulable(Protocol):
    """The numbers of a page that the scheduler works with."""

    num_computed: int
    """Number of tokens whose keys and values are in the cache."""
    segment: KVSegment | None
    """The page's cache positions; None while it waits."""

    @property
    def num_tokens(self) -> int:
        """Number of tokens of the prompt and of the output so far."""

    @property
    def num_prompt_tokens(self) -> int: ...


P = TypeVar("P", bound=Schedulable)


@dataclass(slots=True)
class StepSchedule(Generic[P]):
    """Work of one step. The moves must be made first."""

    moves: list[Move] = field(default_factory=list)
    admitted: list[P] = field(default_factory=list)
    preempted: list[P] = field(default_factory=list)
    decode: list[P] = field(default_factory=list)
    """Pages with one token to compute. Their segments have room for draft tokens."""
    prefill: P | None = None
    num_prefill_tokens: int = 0


class Scheduler(Generic[P]):
    """Runs pages in the order of their arrival, as many as the KV cache holds.

    If the cache is full, the page that was admitted last is preempted: it loses its
    segment, and is the next to be admitted. The oldest page always continues, so some
    page always ends.
    """

    def __init__(
        self,
        pool: KVSegmentPool,
        *,
        max_running_pages: int,
        max_prefill_tokens: int,
        expected_output_tokens: int,
        max_draft_tokens: int = 0,
    ) -> None:
        self._pool = pool
        self._max_running_pages = max_running_pages
        self._max_prefill_tokens = max_prefill_tokens
        self._expected_output_tokens = expected_output_tokens
        self._max_draft_tokens = max_draft_tokens
        self._waiting: deque[P] = deque()
        self._running: list[P] = []  # The oldest first.

    @property
    def waiting(self) -> list[P]:
        """Pages without a segment, the next to be admitted first."""
        return list(self._waiting)

    @property
    def running(self) -> list[P]:
        """Pages with a segment, the oldest first."""
        return list(self._running)

    @property
    def max_tokens(self) -> int:
        """Maximum tokens of a page that runs alone, without draft tokens."""
        return self._pool.num_positions - self._max_draft_tokens

    @property
    def num_free_positions(self) -> int:
        """Cache positions that belong to no page."""
        return self._pool.num_free

    def add(self, page: P) -> None:
        """Append a page of fewer than `max_tokens` tokens to the waiting pages."""
        self._waiting.append(page)

    def remove(self, page: P) -> None:
        """Remove a waiting or running page, and free its segment."""
        if page in self._waiting:
            self._waiting.remove(page)
        else:
            self._running.remove(page)
            self._free_segment(page)

    def reset(self, num_positions: int) -> list[P]:
        """Continue with an empty cache of `num_positions`; return the preempted pages.

        All running pages are preempted, and returned with the youngest first. They are
        the next to be admitted, the oldest first, and are computed again.
        """
        step: StepSchedule[P] = StepSchedule()
        for page in reversed(self.running):
            self._preempt(page, step)
        self._pool = KVSegmentPool(num_positions)
        return step.preempted

    def schedule(self) -> StepSchedule[P]:
        """Choose the work of the next step.

        There is no prefill phase and no decode phase. A page has `num_tokens` tokens,
        of its prompt and of its output so far, and the keys and values of the first
        `num_computed` are in the cache. Each step lets `num_computed` catch up with
        `num_tokens`. This covers chunks of a long prompt, decoding, and the prompt and
        output of a preempted page, which are computed again.

        First, each running page gets cache positions for its next token and for draft
        tokens, the oldest first; pages are preempted if there are too few. If none is
        preempted, waiting pages are admitted as long as the cache has room for their
        prompt and for an output of the expected length. Then all pages with one token
        to compute are decoded, and the oldest of the others computes up to
        `max_prefill_tokens`.
        """
        step: StepSchedule[P] = StepSchedule()
        self._grow_segments(step)
        if not step.preempted:
            self._admit(step)
        step.decode = [page for page in self._running if _num_left(page) == 1]
        for page in self._running:
            if _num_left(page) > 1:
                step.prefill = page
                step.num_prefill_tokens = min(_num_left(page), self._max_prefill_tokens)
                break
        return step

    def _grow_segments(self, step: StepSchedule[P]) -> None:
        """Make room for the next tokens of all running pages; preempt the youngest."""
        for page in list(self._running):
            while page.segment is not None and not self._grow_segment(page, step):
                self._preempt(self._running[-1], step)

    def _grow_segment(self, page: P, step: StepSchedule[P]) -> bool:
        """Make room for a page's next tokens; return False if the cache is full."""
        assert page.segment is not None
        needed = page.num_tokens + self._max_draft_tokens
        if needed <= page.segment.length:
            return True
        for length in (needed + GROWTH, needed):
            moves = self._pool.grow(page.segment, length, self._count_used())
            if moves is not None:
                step.moves += moves
                return True
        return False

    def _admit(self, step: StepSchedule[P]) -> None:
        """Give segments to waiting pages, in their order, as long as there is room."""
        while self._waiting and len(self._running) < self._max_running_pages:
            page = self._waiting[0]
            expected = page.num_prompt_tokens + self._expected_output_tokens
            length = max(expected, page.num_tokens) + self._max_draft_tokens
            allocated = self._pool.allocate(
                # A page that runs alone may start with less than its expected length.
                length if self._running else min(length, self._pool.num_positions),
                self._count_used(),
            )
            if allocated is None:
                return
            page.segment, moves = allocated
            step.moves += moves
            step.admitted.append(page)
            self._running.append(self._waiting.popleft())

    def _preempt(self, page: P, step: StepSchedule[P]) -> None:
        """Free a running page's segment, and put the page first among the waiting."""
        self._running.remove(page)
        self._free_segment(page)
        # The page keeps its tokens. Their keys and values are computed again.
        page.num_computed = 0
        self._waiting.appendleft(page)
        step.preempted.append(page)

    def _free_segment(self, page: P) -> None:
        assert page.segment is not None
        self._pool.free(page.segment)
        page.segment = None

    def _count_used(self) -> dict[KVSegment, int]:
        """Return how many positions of each segment hold keys and values."""
        return {
            page.segment: page.num_computed
            for page in self._running
            if page.segment is not None
        }


def _num_left(page: Schedulable) -> int:
    """Return how many tokens of a page are not computed yet."""
    return page.num_tokens - page.num_computed
