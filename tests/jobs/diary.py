"""Log of a test with times, shown by pytest -s and by failing tests."""

from __future__ import annotations

import sys
import time

__all__ = ["Diary"]


class Diary:
    """Log whose lines have the seconds since its creation."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, words: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self._started:6.0f} s] {words}\n")
        sys.stdout.flush()
