"""Scores of a page: errors in characters, lines, boxes, labels and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from handler.schema import Block
from mini.tables import find_tables, has_same_shape, match_tables

__all__ = ["MIN_LINE", "PageScore", "compute_iou", "count_lost_lines", "score_page"]

Bbox = tuple[int, int, int, int]

MIN_LINE = 12
"""Characters in a row that are missing or added, from which they count as a line."""
_MAX_GAP = 3
"""Longest run of equal characters within one missing or added line. The alignment with
the fewest errors often pairs a few letters of the line with equal letters beside it."""


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
    num_dropped: int = 0
    """Number of runs of at least MIN_LINE characters that are missing."""
    num_doubled: int = 0
    """Number of runs of at least MIN_LINE characters that are not in the truth."""
    right_tables: tuple[bool, ...] = ()
    """True for each true table that was read with the same number of rows and
    columns."""


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
    num_dropped, num_doubled = count_lost_lines(expected, actual)
    true_tables = find_tables(true_blocks)
    tables = match_tables(true_tables, find_tables(blocks))
    return PageScore(
        num_characters=len(expected),
        num_errors=Levenshtein.distance(expected, actual),
        ious=tuple(ious),
        right_labels=tuple(labels),
        num_dropped=num_dropped,
        num_doubled=num_doubled,
        right_tables=tuple(map(has_same_shape, true_tables, tables)),
    )


def count_lost_lines(expected: str, actual: str) -> tuple[int, int]:
    """Return how many lines are missing from a text, and how many it has too many.

    A line is a run of at least MIN_LINE deleted or inserted characters in the alignment
    with the fewest errors. Adjacent lines count as one.
    """
    lengths = list(_iter_runs(expected, actual))
    return (
        sum(tag == "delete" and length >= MIN_LINE for tag, length in lengths),
        sum(tag == "insert" and length >= MIN_LINE for tag, length in lengths),
    )


def _iter_runs(expected: str, actual: str) -> Iterator[tuple[str, int]]:
    """Yield the kind and length of runs of deleted or inserted characters.

    Runs of one kind with at most _MAX_GAP equal characters between them are one run.
    """
    kind, length = "", 0
    for operation in Levenshtein.opcodes(expected, actual):
        num_source = operation.src_end - operation.src_start
        num_target = operation.dest_end - operation.dest_start
        if operation.tag == "equal" and num_source <= _MAX_GAP:
            continue
        if operation.tag == kind:
            length += max(num_source, num_target)
            continue
        if length:
            yield kind, length
        is_run = operation.tag in ("delete", "insert")
        kind, length = operation.tag, max(num_source, num_target) if is_run else 0
    if length:
        yield kind, length


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
