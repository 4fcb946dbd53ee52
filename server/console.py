"""Output to the terminal."""

from __future__ import annotations

import sys
import threading

__all__ = ["say"]

_lock = threading.Lock()


def say(text: str = "") -> None:
    """Print a line in one write, so that lines of several threads do not mix."""
    with _lock:
        # `print` writes the text and the end of the line one after the other.
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
