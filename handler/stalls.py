"""Tells a process that is at work from one that is stopped, by its processor time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["StallWatch", "read_ticks_and_state"]

_RUNNABLE = "R"
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class StallWatch:
    """Looks at a process now and then.

    It is stalled when it has used no processor time for `seconds` and did not want any:
    stopped by a signal, or waiting. One that waits for a core is not stalled.
    """

    def __init__(
        self,
        pid: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        look: Callable[[int], tuple[int, str] | None] | None = None,
    ) -> None:
        self._pid = pid
        self._max_seconds = seconds
        self._clock = clock
        self._look = look or read_ticks_and_state
        self._first = self._last = self._look(pid)
        self._last_active_at = clock()

    @property
    def processor_seconds(self) -> float:
        """Processor time that was used between the first look and the latest."""
        if self._first is None or self._last is None:
            return 0.0
        return (self._last[0] - self._first[0]) / _TICKS_A_SECOND

    def is_stalled(self) -> bool:
        """Look again, and say whether it has stood still for long enough."""
        now, seen = self._clock(), self._look(self._pid)
        if seen is None or seen[1] == _RUNNABLE or seen[0] != (self._last or seen)[0]:
            self._last_active_at = now
        self._last = seen
        return now - self._last_active_at >= self._max_seconds


def read_ticks_and_state(pid: int) -> tuple[int, str] | None:
    """Return a process's processor time in clock ticks, and its state; see proc(5).

    None where that cannot be known, for one because it has ended.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold anything.
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]), fields[0]
