"""The answer to a question of the report."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FREE_RATIO", "GIB", "Answer"]

FREE_RATIO = 1.1
"""A step that takes up to this times that of one token a page costs nothing more."""
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Answer:
    """A finding, its numbers, and the setting or code to change."""

    text: str
    numbers: str
    advice: str
