"""Answer to a question of the report."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FREE_RATIO", "GIB", "Answer"]

FREE_RATIO = 1.1
"""A step within this factor of a step of one token per page counts as free."""
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Answer:
    """Finding with its numbers and the setting or code to change."""

    text: str
    numbers: str
    advice: str
