"""Scheduling of a pool: which call gets a process next, and which must yield.

A multilevel feedback queue: a document starts at the first level, with a short limit
while others wait, and sinks to lower ones when it needs longer. Calls of lower levels
never hold all processes, so that new documents always find one. Within a level,
start-time fair queueing (Goyal, Vin and Cheng 1996) orders documents by the seconds
that they have used. The queue only counts turns; the pool owns the processes.
"""

from __future__ import annotations

import enum
import itertools
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "CallOutcome",
    "DocumentUsage",
    "FairQueue",
    "Priority",
    "Turn",
    "UsageHistory",
]

FIRST_LIMIT_FRACTION = 1 / 20
"""A normal call yields to a waiting one after this fraction of its time limit: 1 s of
20 s. Pages of A4 take 0.1 to 0.3 s."""
SECOND_LIMIT_FRACTION = 1 / 4
"""A slow call yields to a waiting one after this fraction of its time limit."""
MAX_SHORT_PREEMPTIONS = 2
"""A document's time until it yields doubles with each preemption above this number."""
MAX_TIMEOUTS = 2
"""A document is given up after this many calls that used their whole time limit."""


class Priority(enum.IntEnum):
    """Class of a document by the time that its calls have taken so far."""

    NORMAL = 0
    SLOW = 1
    """A call took longer than the first limit, or was preempted there."""
    SUSPECT = 2
    """A call used its whole time limit, or was preempted at the second limit."""


class CallOutcome(enum.Enum):
    """The way in which a call ended."""

    FINISHED = enum.auto()
    OUT_OF_TIME = enum.auto()
    """The caller's deadline passed before the call's own time limit."""
    PREEMPTED = enum.auto()
    TIMED_OUT = enum.auto()
    LOST = enum.auto()
    """The process was ended or stopped from outside, not by the call."""


@dataclass(slots=True, eq=False)
class DocumentUsage:
    """Record of one document's calls, by which its next ones are scheduled."""

    level: Priority = Priority.NORMAL
    num_timeouts: int = 0
    num_preemptions: int = 0
    """Number of calls preempted since one of its calls finished."""
    finish_tag: float = 0.0
    """Virtual time at which its last call ended."""
    touched_at: float = 0.0

    @property
    def is_given_up(self) -> bool:
        return self.num_timeouts >= MAX_TIMEOUTS


class UsageHistory:
    """Usage records of recent documents, because a document may be sent again.

    Forgets a document that was not used for `keep_seconds`, and the least recently used
    ones above `max_documents`. Thread-safe.
    """

    def __init__(
        self,
        max_documents: int = 4096,
        keep_seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_documents = max_documents
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._usages: OrderedDict[str, DocumentUsage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._usages)

    def find_usage(self, document: str | None) -> DocumentUsage:
        """Return the usage record of a document, which is created if there is none.

        `document` is its key. For None, returns a new record that is not kept.
        """
        if document is None:
            return DocumentUsage()
        now = self._clock()
        with self._lock:
            while self._usages:
                oldest = next(iter(self._usages.values()))
                if now - oldest.touched_at < self._keep_seconds:
                    break
                self._usages.popitem(last=False)
            usage = self._usages.setdefault(document, DocumentUsage())
            usage.touched_at = now
            self._usages.move_to_end(document)
            if len(self._usages) > self._max_documents:
                self._usages.popitem(last=False)
            return usage


@dataclass(slots=True, eq=False)
class Turn:
    """Call that waits for a process or has one."""

    usage: DocumentUsage
    level: Priority
    start_tag: float
    number: int
    limit_seconds: float
    can_restart: bool
    """True if the call may be ended and run again; otherwise it is never preempted."""
    can_recover: bool
    """True if a quick result makes a slow document a normal one."""
    started_at: float = math.nan
    """Time at which it was granted; NaN while it waits."""
    is_yielding: bool = False

    @property
    def is_granted(self) -> bool:
        return not math.isnan(self.started_at)

    @property
    def order(self) -> tuple[Priority, float, int]:
        return self.level, self.start_tag, self.number


class FairQueue:
    """Grants at most `size` turns at the same time. Thread-safe."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[Turn] = []
        self._running: list[Turn] = []
        self._numbers = itertools.count()
        self._virtual = dict.fromkeys(Priority, 0.0)
        """Virtual time of each level, in seconds. It advances more slowly the more
        documents compete for turns, so that it reaches the tags of every document."""

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def take(
        self,
        usage: DocumentUsage,
        limit_seconds: float,
        wait_seconds: float,
        *,
        can_restart: bool = True,
        can_recover: bool = True,
    ) -> Turn | None:
        """Wait for a turn, which the caller returns with `give_back`.

        Returns None if no turn was granted within `wait_seconds`. `limit_seconds` is
        the call's time limit, on which the times before it yields depend.
        """
        with self._changed:
            level = usage.level if can_restart else Priority.NORMAL
            turn = Turn(
                usage,
                level,
                max(self._virtual[level], usage.finish_tag),
                next(self._numbers),
                limit_seconds,
                can_restart,
                can_recover,
            )
            self._waiting.append(turn)
            self._grant()
            self._changed.wait_for(lambda: turn.is_granted, max(0.0, wait_seconds))
            if not turn.is_granted:
                self._waiting.remove(turn)
                return None
            return turn

    def give_back(self, turn: Turn, outcome: CallOutcome) -> None:
        """Return a turn, charge its time to the document, and grant waiting turns."""
        with self._changed:
            self._charge(turn, outcome)
            self._running.remove(turn)
            self._grant()

    def must_yield(self, turn: Turn) -> bool:
        """Decide whether the call has to end now, because others wait for its process.

        Marks the turn as yielding and returns True, only once. The caller then ends the
        call and returns the turn as PREEMPTED.
        """
        with self._changed:
            waiters = [other for other in self._waiting if self._yields_to(turn, other)]
            if len(waiters) <= sum(other.is_yielding for other in self._running):
                return False
            candidates = [
                other
                for other in self._running
                if not other.is_yielding and self._yields_to(other, waiters[0])
            ]
            last = max(candidates, key=lambda other: (other.level, -other.started_at))
            turn.is_yielding = turn is last
            return turn.is_yielding

    def _grant(self) -> None:
        """Start the waiting turns that may run, in order, and wake their threads."""
        for turn in sorted(self._waiting, key=lambda waiting: waiting.order):
            if self._may_run(turn):
                self._waiting.remove(turn)
                self._running.append(turn)
                turn.started_at = self._clock()
                virtual = max(self._virtual[turn.level], turn.start_tag)
                self._virtual[turn.level] = virtual
        self._changed.notify_all()

    def _may_run(self, turn: Turn, without: Turn | None = None) -> bool:
        """Return whether a turn could start now, or once the turn `without` had ended.

        Slow documents never hold all processes, and suspect ones at most half of them.
        """
        running = [other for other in self._running if other is not without]
        if len(running) >= self._size:
            return False
        if turn.level is Priority.NORMAL:
            return True
        num_slow = sum(map(self._is_slow, running))
        if num_slow >= max(1, self._size - 1):
            return False
        num_suspect = sum(other.level is Priority.SUSPECT for other in running)
        return turn.level is Priority.SLOW or num_suspect < max(1, self._size // 2)

    def _is_slow(self, turn: Turn) -> bool:
        """Return whether the call is slow by its level or by its time so far."""
        if turn.level is Priority.NORMAL and turn.can_restart:
            return (
                self._elapsed_seconds(turn) >= FIRST_LIMIT_FRACTION * turn.limit_seconds
            )
        return turn.level is not Priority.NORMAL

    def _yields_to(self, turn: Turn, waiting: Turn) -> bool:
        """Return whether a running turn may be ended so that a waiting one can run."""
        fraction = self._yield_fraction(turn.level, waiting.level)
        if fraction is not None:
            # Each attempt starts over, so the limit grows until an attempt can finish.
            fraction *= 2 ** max(0, turn.usage.num_preemptions - MAX_SHORT_PREEMPTIONS)
        return (
            turn.can_restart
            and fraction is not None
            and self._elapsed_seconds(turn) >= fraction * turn.limit_seconds
            and self._may_run(waiting, without=turn)
        )

    def _yield_fraction(self, running: Priority, waiting: Priority) -> float | None:
        """Return the fraction of its time limit after which a call yields; None: never.

        Suspect calls never yield, but run on at most half of the processes. With a
        single process, every call yields to normal ones after the first limit.
        """
        if waiting is Priority.NORMAL and (
            running is Priority.NORMAL or self._size == 1
        ):
            return FIRST_LIMIT_FRACTION
        if running is Priority.SUSPECT or waiting is Priority.SUSPECT:
            return None
        return SECOND_LIMIT_FRACTION

    def _charge(self, turn: Turn, outcome: CallOutcome) -> None:
        """Add a turn's time to its document, and change the document's level.

        A turn that was lost is not charged, because the document did not cause that.
        """
        if outcome is CallOutcome.LOST:
            return
        usage, seconds = turn.usage, self._elapsed_seconds(turn)
        usage.finish_tag = max(usage.finish_tag, turn.start_tag + seconds)
        competing_documents = {
            id(other.usage)
            for other in (*self._running, *self._waiting)
            if other.level is turn.level
        }
        self._virtual[turn.level] += seconds / len(competing_documents)
        is_slow = seconds >= FIRST_LIMIT_FRACTION * turn.limit_seconds
        if outcome is CallOutcome.FINISHED:
            usage.num_preemptions = 0
        if outcome is CallOutcome.TIMED_OUT:
            usage.num_timeouts += 1
            usage.level = Priority.SUSPECT
        elif outcome is CallOutcome.PREEMPTED:
            usage.num_preemptions += 1
            usage.level = max(usage.level, Priority(min(turn.level + 1, 2)))
        elif is_slow:
            usage.level = max(usage.level, Priority.SLOW)
        elif (
            outcome is CallOutcome.FINISHED
            and turn.can_recover
            and usage.level is Priority.SLOW
        ):
            usage.level = Priority.NORMAL

    def _elapsed_seconds(self, turn: Turn) -> float:
        return self._clock() - turn.started_at
