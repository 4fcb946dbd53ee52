"""Stages of the training: which pages each one draws."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mini.fonts import find_training_families
from mini.pages import Domain

__all__ = ["STAGES", "Part", "Stage"]


@dataclass(frozen=True, slots=True)
class Part:
    """Kind of pages of a stage."""

    domain: Domain
    sizes: tuple[tuple[int, int], ...]
    """Widths and heights in pixels, multiples of 32. Each is compiled once."""
    pixels_a_batch: int
    max_tokens: int = 10_000
    weight: float = 1.0
    factors: tuple[float, float] = (0.75, 1.3)
    """Range of the factor by which a page is scaled after drawing."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Stage of the training."""

    parts: tuple[Part, ...]
    vision_only: bool = False
    num_repeats: int = 1
    """How often a page is used again, because drawing it takes long."""


_LATIN = Domain(
    sizes=(15, 30),
    min_leading=0,
    families=find_training_families(),
    is_latin=True,
    max_heading_size=44,
    emphasized=0.15,
    max_table=(6, 8),
    max_characters=500,
    max_words=50,
    clean=0.3,
)

_DENSE = replace(_LATIN, is_dense=True, max_words=80, sizes=(14, 30))

STAGES = {
    "cells": Stage(
        (Part(_DENSE, ((256, 256),), 24 * 256 * 256),),
        vision_only=True,
        num_repeats=2,
    ),
    "crops": Stage(
        (
            Part(
                replace(_DENSE, max_characters=300),
                ((256, 256),),
                24 * 256 * 256,
                max_tokens=320,
                weight=2,
            ),
            Part(
                replace(_LATIN, max_characters=300),
                ((256, 256),),
                24 * 256 * 256,
                max_tokens=320,
            ),
        ),
    ),
}
