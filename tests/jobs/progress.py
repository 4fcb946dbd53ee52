"""Progress log of a long test, which `pytest -s` and failing tests show."""

from __future__ import annotations

import sys
import time

__all__ = ["ProgressLog"]


class ProgressLog:
    """Log that prints lines with the seconds since it was created."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def print_line(self, text: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self._started:6.0f} s] {text}\n")
        sys.stdout.flush()
