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

_CROP = (256, 256)
_PIXELS_A_BATCH = 24 * 256 * 256

_CELLS = Part(_DENSE, (_CROP,), _PIXELS_A_BATCH)
_DENSE_CROPS = Part(
    replace(_DENSE, max_characters=300), (_CROP,), _PIXELS_A_BATCH, max_tokens=320
)
_CROPS = Part(
    replace(_LATIN, max_characters=300), (_CROP,), _PIXELS_A_BATCH, max_tokens=320
)
_SMALL_PAGES = Part(
    replace(_LATIN, max_characters=600), ((384, 384),), _PIXELS_A_BATCH, max_tokens=640
)
# The domain that is evaluated, at two of its sizes.
_EVALUATED = Part(
    Domain(), ((544, 672), (512, 640)), _PIXELS_A_BATCH, factors=(0.95, 1.05)
)
_PAGES = Part(
    replace(_LATIN, two_columns=0.15, max_characters=1000),
    ((544, 672), (512, 640)),
    _PIXELS_A_BATCH,
)
_DENSE_PAGES = Part(
    replace(_DENSE, max_characters=2500, sizes=(15, 26)),
    ((640, 800),),
    _PIXELS_A_BATCH,
)
_LARGE_PAGES = Part(
    replace(_LATIN, two_columns=0.15, max_characters=2000, max_blocks=20),
    ((704, 992),),
    _PIXELS_A_BATCH,
)
_A4_PAGES = Part(
    replace(
        _LATIN, two_columns=0.2, max_characters=3500, max_blocks=24, sizes=(16, 24)
    ),
    ((992, 1408),),
    _PIXELS_A_BATCH,
    factors=(0.8, 1.25),
)


def _weighted(part: Part, weight: float) -> Part:
    return replace(part, weight=weight)


STAGES = {
    "cells": Stage((_CELLS,), vision_only=True, num_repeats=2),
    "crops": Stage((_weighted(_DENSE_CROPS, 2), _CROPS)),
    "small pages": Stage(
        (_DENSE_CROPS, _CROPS, _weighted(_SMALL_PAGES, 3), _weighted(_EVALUATED, 2))
    ),
    "pages": Stage(
        (
            *(_DENSE_CROPS, _CROPS, _SMALL_PAGES, _DENSE_PAGES, _LARGE_PAGES),
            *(_weighted(_EVALUATED, 3), _weighted(_PAGES, 2)),
        )
    ),
    "A4": Stage(
        (
            *(_DENSE_CROPS, _SMALL_PAGES, _DENSE_PAGES, _LARGE_PAGES, _A4_PAGES),
            *(_weighted(_EVALUATED, 3), _weighted(_PAGES, 2)),
        )
    ),
}
"""Stages in the order of the training."""
