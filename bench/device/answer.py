"""What a question of the report is answered with."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FREE_RATIO", "GIB", "Answer"]

FREE_RATIO = 1.1
"""A step that takes up to this times that of one token a page costs nothing more."""
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Answer:
    """What the results say, the numbers, and what to set or to change."""

    text: str
    numbers: str
    advice: str
