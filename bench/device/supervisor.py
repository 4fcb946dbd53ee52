"""Supervisor of the measuring process, which may die or hang.

After a kernel has read out of bounds, CUDA is unusable in its process, and a kernel
that never ends blocks it. A new process continues with the remaining items.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence

__all__ = ["supervise"]

_POLL_SECONDS = 0.2
_STOP_SECONDS = 5.0
_MIN_SECONDS = 20.0
"""A process that starts with less time left reaches no item."""


def supervise(
    command: Callable[[float], Sequence[str]],
    *,
    budget: float,
    num_begun: Callable[[], int],
    overdue_seconds: Callable[[], float],
    tell: Callable[[str], None],
    min_seconds: float = _MIN_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Run `command(seconds left)` until it ends with status 0 or the time is up.

    `num_begun` returns the number of items begun so far: a process that fails without
    beginning one is not restarted. `overdue_seconds` returns how long the running item
    has exceeded its limit; the process is then killed. Return True if a process ended
    with status 0.
    """
    begin = clock()
    while (left := budget - (clock() - begin)) > min_seconds:
        before = num_begun()
        process = subprocess.Popen(command(left))
        try:
            why = _watch(process, lambda: budget - (clock() - begin), overdue_seconds)
        finally:
            _end(process)
        if process.returncode == 0:
            return True
        if why is None:
            why = f"the process ended with status {process.returncode}"
        tell(why)
        if num_begun() == before:
            return False
    return False


def _watch(
    process: subprocess.Popen[bytes],
    left: Callable[[], float],
    overdue_seconds: Callable[[], float],
) -> str | None:
    while True:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if left() <= 0:
                return "the time is up: the item that ran is not measured"
            if overdue_seconds() > 0:
                return "an item hangs: its process is killed"
        else:
            return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
