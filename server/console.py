"""Everything this package says to a person at a terminal."""

from __future__ import annotations

__all__ = ["say"]


def say(text: str = "") -> None:
    """Print a line, at once."""
    print(text, flush=True)
