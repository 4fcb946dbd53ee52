"""Scores of a page: errors in characters, boxes and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from handler.schema import Block

__all__ = ["PageScore", "compute_iou", "score_page"]

Bbox = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class PageScore:
    """Comparison of a page with the ground truth."""

    num_characters: int
    num_errors: int
    """Number of insertions, deletions and substitutions."""
    ious: tuple[float, ...]
    """Intersection over union of each true block with its match; 0 without a match."""
    right_labels: tuple[bool, ...]
    """True for each true block whose match has the same label."""


def score_page(
    true_text: str, text: str, true_blocks: Sequence[Block], blocks: Sequence[Block]
) -> PageScore:
    """Compare a page with the truth; runs of white space count as one character."""
    expected, actual = " ".join(true_text.split()), " ".join(text.split())
    ious = [0.0] * len(true_blocks)
    labels = [False] * len(true_blocks)
    for overlap, index, other in _match_blocks(true_blocks, blocks):
        ious[index] = overlap
        labels[index] = true_blocks[index].label == blocks[other].label
    return PageScore(
        num_characters=len(expected),
        num_errors=Levenshtein.distance(expected, actual),
        ious=tuple(ious),
        right_labels=tuple(labels),
    )


def _match_blocks(
    true_blocks: Sequence[Block], blocks: Sequence[Block]
) -> list[tuple[float, int, int]]:
    """Match overlapping blocks, the largest overlap first.

    Return the overlap, the index of the true block and that of the other for each pair.
    """
    candidates = sorted(
        (
            (compute_iou(true.bbox, block.bbox), index, other)
            for index, true in enumerate(true_blocks)
            for other, block in enumerate(blocks)
            if true.bbox is not None and block.bbox is not None
        ),
        reverse=True,
    )
    pairs: list[tuple[float, int, int]] = []
    for candidate in candidates:
        overlap, index, other = candidate
        is_taken = any(index == i or other == o for _, i, o in pairs)
        if overlap > 0 and not is_taken:
            pairs.append(candidate)
    return pairs


def compute_iou(one: Bbox, other: Bbox) -> float:
    """Return the intersection over union of two boxes (left, top, right, bottom)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)
