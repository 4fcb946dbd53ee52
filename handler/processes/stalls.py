"""Detection of stalled processes by their processor time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["StallWatch", "read_ticks_and_state"]

_RUNNABLE = "R"
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class StallWatch:
    """Detector that samples the state of a process to find out whether it is stalled.

    `sample` returns processor time and state as `read_ticks_and_state` does; it is
    called at once. A process is stalled if it has used no processor time for `seconds`
    and was not runnable, because a signal stopped it or it waits for something. A
    process that waits for a core is runnable and therefore not stalled.
    """

    def __init__(
        self,
        pid: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sample: Callable[[int], tuple[int, str] | None] | None = None,
    ) -> None:
        self._pid = pid
        self._max_seconds = seconds
        self._clock = clock
        self._sample = sample or read_ticks_and_state
        self._first = self._last = self._sample(pid)
        self._last_active_at = clock()

    @property
    def processor_seconds(self) -> float:
        """Processor time used between the first sample and the latest."""
        if self._first is None or self._last is None:
            return 0.0
        return (self._last[0] - self._first[0]) / _TICKS_A_SECOND

    def is_stalled(self) -> bool:
        """Take another sample, and return whether the process is stalled.

        A process of which no sample can be taken is not.
        """
        now, sample = self._clock(), self._sample(self._pid)
        if (
            sample is None
            or sample[1] == _RUNNABLE
            or sample[0] != (self._last or sample)[0]
        ):
            self._last_active_at = now
        self._last = sample
        return now - self._last_active_at >= self._max_seconds


def read_ticks_and_state(pid: int) -> tuple[int, str] | None:
    """Return a process's processor time in clock ticks, and its state; see proc(5).

    Returns None if they cannot be read, such as for a process that has ended.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name, in parentheses, may itself contain spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]), fields[0]
