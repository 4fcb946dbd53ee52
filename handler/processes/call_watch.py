"""Watch over a running call, which decides when to end its process."""

from __future__ import annotations

import enum
import time

from handler.processes.calls import CallStalledError, CallTimeoutError, OutOfTimeError
from handler.processes.child import Child
from handler.processes.fair_queue import CallOutcome, FairQueue, Priority, Turn
from handler.processes.stalls import StallWatch

__all__ = ["EndReason", "PreemptedError", "watch_call"]

SLOW_TIME_FACTOR = 3
"""Wall time of a slow document's call, in time limits. The call also ends once it has
used one time limit of processor time."""
CHECK_SECONDS = 0.05
"""Interval between checks whether a running call must yield or has stalled."""


class PreemptedError(Exception):
    """The call was preempted, and must be run again."""


class EndReason(enum.Enum):
    """Reason to end a process whose call has no result yet, as it is logged."""

    TIMEOUT = "timeout"
    STALL = "stalled"
    DEADLINE = "deadline"
    PREEMPTED = "preempted"

    @property
    def outcome(self) -> CallOutcome:
        """Outcome of the call, by which the fair queue charges its document."""
        return _OUTCOMES[self]

    def to_error(self, timeout_seconds: float) -> Exception:
        """Return the error that the caller gets for a call with this time limit."""
        match self:
            case EndReason.PREEMPTED:
                return PreemptedError()
            case EndReason.DEADLINE:
                return OutOfTimeError()
            case EndReason.STALL:
                return CallStalledError("the process stalled")
        return CallTimeoutError(f"no result within {timeout_seconds:g} s")


_OUTCOMES = {
    EndReason.TIMEOUT: CallOutcome.TIMED_OUT,
    EndReason.STALL: CallOutcome.LOST,
    EndReason.DEADLINE: CallOutcome.OUT_OF_TIME,
    EndReason.PREEMPTED: CallOutcome.PREEMPTED,
}


def watch_call(
    child: Child,
    turn: Turn,
    turns: FairQueue,
    timeout_seconds: float,
    deadline: float,
    stall_seconds: float,
) -> EndReason | None:
    """Wait until the process sends its result, or until it is to be ended.

    Returns None if the result can be received or the process has ended by itself, and
    otherwise the reason to end the process, which is left to the caller. `deadline` is
    a time on the monotonic clock.
    """
    stalls = StallWatch(child.pid, stall_seconds)
    limit = turn.started_at + timeout_seconds
    is_slow = turn.level is not Priority.NORMAL
    if is_slow:
        limit += (SLOW_TIME_FACTOR - 1) * timeout_seconds
    while True:
        seconds_left = min(limit, deadline) - time.monotonic()
        if child.connection.poll(max(0.0, min(CHECK_SECONDS, seconds_left))):
            return None
        if seconds_left <= 0:
            return EndReason.DEADLINE if deadline < limit else EndReason.TIMEOUT
        if turns.must_yield(turn):
            return EndReason.PREEMPTED
        if turn.can_restart and stalls.is_stalled():
            return EndReason.STALL
        if is_slow and stalls.processor_seconds >= timeout_seconds:
            return EndReason.TIMEOUT
