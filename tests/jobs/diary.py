"""What happened when: shown by pytest -s, and by any test that fails."""

from __future__ import annotations

import sys
import time

__all__ = ["Diary"]


class Diary:
    """Lines with the seconds since it was begun."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, words: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self._started:6.0f} s] {words}\n")
        sys.stdout.flush()
