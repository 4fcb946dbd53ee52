"""Everything this package says to a person at a terminal."""

from __future__ import annotations

import sys
import threading

__all__ = ["say"]

_lock = threading.Lock()


def say(text: str = "") -> None:
    """Print a whole line at once; several threads may do so."""
    with _lock:
        # `print` writes the text and the end of the line one after the other.
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
