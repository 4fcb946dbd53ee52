"""Which pages run in the next step, and where their keys and values lie.

Integers only: it knows how many tokens a page holds and how many of them are
computed. What remains is the same thing for a prompt and for an answer, so a page
being prefilled, one being decoded and one that lost its place differ in numbers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from handler.engine.batching.kv_cache import Move, Segment, SegmentPool

__all__ = ["Schedulable", "Schedule", "Scheduler"]

GROWTH = 128
"""Places by which a segment grows at least, so that it rarely has to."""


class Schedulable(Protocol):
    """What the scheduler knows of a page."""

    num_computed: int
    """Tokens whose keys and values are in the cache."""
    segment: Segment | None

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt and of the answer so far."""

    @property
    def num_prompt_tokens(self) -> int: ...


P = TypeVar("P", bound=Schedulable)


@dataclass(slots=True)
class Schedule(Generic[P]):
    """One step. Moves are made first."""

    moves: list[Move] = field(default_factory=list)
    admitted: list[P] = field(default_factory=list)
    preempted: list[P] = field(default_factory=list)
    decode: list[P] = field(default_factory=list)
    """Pages with one token to compute, and room for their drafts behind it."""
    prefill: P | None = None
    num_prefill_tokens: int = 0


class Scheduler(Generic[P]):
    """Pages in order of arrival, as many as the pool holds.

    When the pool is full the youngest page gives up its place and is the next to
    be admitted; the oldest always goes on, so some page always ends.
    """

    def __init__(
        self,
        pool: SegmentPool,
        *,
        max_sequences: int,
        max_prefill_tokens: int,
        expected_output_tokens: int,
        max_draft_tokens: int = 0,
    ) -> None:
        self._pool = pool
        self._max_sequences = max_sequences
        self._max_prefill_tokens = max_prefill_tokens
        self._expected_output_tokens = expected_output_tokens
        self._max_draft_tokens = max_draft_tokens
        self._waiting: deque[P] = deque()
        self._running: list[P] = []  # the oldest first

    @property
    def waiting(self) -> list[P]:
        return list(self._waiting)

    @property
    def running(self) -> list[P]:
        return list(self._running)

    @property
    def max_tokens(self) -> int:
        """The longest a page can ever be, its drafts left out."""
        return self._pool.num_places - self._max_draft_tokens

    def add(self, page: P) -> None:
        """Queue a page of fewer than `max_tokens` tokens."""
        self._waiting.append(page)

    def remove(self, page: P) -> None:
        """Forget a page, wherever it is; its places are free at once."""
        if page in self._waiting:
            self._waiting.remove(page)
        else:
            self._running.remove(page)
            self._release(page)

    def reset(self, num_places: int) -> list[P]:
        """Continue with an empty cache of `num_places`; return the preempted pages.

        They are the next to be admitted, in the same order, and are computed again.
        """
        step: Schedule[P] = Schedule()
        for page in reversed(self.running):
            self._preempt(page, step)
        self._pool = SegmentPool(num_places)
        return step.preempted

    def schedule(self) -> Schedule[P]:
        """The next step; every page in it has the places it needs."""
        step: Schedule[P] = Schedule()
        self._make_room(step)
        if not step.preempted:
            self._admit(step)
        step.decode = [page for page in self._running if _num_left(page) == 1]
        for page in self._running:
            if _num_left(page) > 1:
                step.prefill = page
                step.num_prefill_tokens = min(_num_left(page), self._max_prefill_tokens)
                break
        return step

    def _make_room(self, step: Schedule[P]) -> None:
        for page in list(self._running):
            while page.segment is not None and not self._has_room(page, step):
                self._preempt(self._running[-1], step)

    def _has_room(self, page: P, step: Schedule[P]) -> bool:
        """Whether the page's next tokens have places; takes more where needed."""
        assert page.segment is not None
        needed = page.num_tokens + self._max_draft_tokens
        if needed <= page.segment.length:
            return True
        for length in (needed + GROWTH, needed):
            moves = self._pool.grow(page.segment, length, self._used())
            if moves is not None:
                step.moves += moves
                return True
        return False

    def _admit(self, step: Schedule[P]) -> None:
        while self._waiting and len(self._running) < self._max_sequences:
            page = self._waiting[0]
            expected = page.num_prompt_tokens + self._expected_output_tokens
            length = max(expected, page.num_tokens) + self._max_draft_tokens
            found = self._pool.allocate(
                # Alone, a page may begin with less than it is expected to need.
                length if self._running else min(length, self._pool.num_places),
                self._used(),
            )
            if found is None:
                return
            page.segment, moves = found
            step.moves += moves
            step.admitted.append(page)
            self._running.append(self._waiting.popleft())

    def _preempt(self, page: P, step: Schedule[P]) -> None:
        self._running.remove(page)
        self._release(page)
        # Its tokens are kept and computed again.
        page.num_computed = 0
        self._waiting.appendleft(page)
        step.preempted.append(page)

    def _release(self, page: P) -> None:
        assert page.segment is not None
        self._pool.free(page.segment)
        page.segment = None

    def _used(self) -> dict[Segment, int]:
        return {
            page.segment: page.num_computed
            for page in self._running
            if page.segment is not None
        }


def _num_left(page: Schedulable) -> int:
    return page.num_tokens - page.num_computed
