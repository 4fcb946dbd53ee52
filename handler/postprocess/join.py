"""Join the blocks of a long page's strips: no line lost, none twice.

Where strips overlap, both show the same lines. A block that lies in the overlap is
kept once, and one that runs out of it is continued after the words both have. Where a
cut runs through a paragraph, list or table without an overlap, its halves are joined.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from handler.postprocess.layout import Bbox
from handler.postprocess.markup import Element, Node, parse, serialise
from handler.postprocess.sanitise import clean
from handler.schema import Block, Strip

__all__ = ["StripAnswer", "join_blocks"]

_SAME = 0.8
"""Similarity of the words above which two blocks are the same."""
_MIN_SHARED_WORDS = 2
_JOINED = frozenset({"Text", "List-Group", "Table", "Code-Block", "Table-Of-Contents"})
_NEAR = 0.1
"""Distance from a cut within which a block ends there, as a part of the strip."""


@dataclass(frozen=True, slots=True)
class StripAnswer:
    """What the model said about one strip of a page."""

    strip: Strip
    text: str


@dataclass(frozen=True, slots=True)
class _Seam:
    """Where one strip ends and the next begins, along the long side."""

    axis: int
    start: int
    end: int
    """Page pixels; equal to `start` where the strips do not overlap."""
    near: float

    def range_of(self, box: Bbox) -> tuple[int, int]:
        return box[self.axis], box[self.axis + 2]

    def is_within(self, box: Bbox) -> bool:
        low, high = self.range_of(box)
        return low >= self.start and high <= self.end

    def touches(self, box: Bbox) -> bool:
        low, high = self.range_of(box)
        return high > self.start and low < self.end


def join_blocks(
    strips: Sequence[tuple[Strip, list[Block]]], is_wide: bool
) -> list[Block]:
    """Return the blocks of all strips, in order; boxes are in pixels of the page."""
    joined: list[Block] = []
    before: Strip | None = None
    for strip, blocks in strips:
        axis = 0 if is_wide else 1
        start = strip.box[axis]
        length = strip.box[axis + 2] - start
        seam = _Seam(axis, start, start + strip.overlap, _NEAR * length)
        # A strip that failed or is blank lies between them: they do not meet.
        meets = before is not None and before.box[axis + 2] >= start
        before = strip
        blocks = list(blocks)
        if meets and strip.overlap:
            _join_overlap(joined, blocks, seam)
        elif meets and strip.is_continuation and joined and blocks:
            _join_cut(joined, blocks, seam)
        joined += blocks
    return joined


def _join_overlap(joined: list[Block], blocks: list[Block], seam: _Seam) -> None:
    """Remove from both lists what the other one has, and continue blocks."""
    for block in list(blocks):
        if block.bbox is None or not seam.touches(block.bbox):
            continue
        for index, other in enumerate(joined):
            if other.bbox is None or not seam.touches(other.bbox):
                continue
            if not _overlaps(block.bbox, other.bbox, seam.axis):
                continue
            merged = _merged(other, block, seam)
            if merged is not None:
                joined[index] = merged
                blocks[:] = [left for left in blocks if left is not block]
                break


def _merged(first: Block, second: Block, seam: _Seam) -> Block | None:
    """Return one block for two that show the same lines; None if they do not."""
    assert first.bbox is not None
    assert second.bbox is not None
    words, others = _words(first.html), _words(second.html)
    if SequenceMatcher(None, words, others, autojunk=False).ratio() >= _SAME:
        return first if len(words) >= len(others) else second
    # A line that is cut by the edge of its strip is whole in the other one.
    if seam.is_within(second.bbox) and second.bbox[seam.axis] <= seam.start + 1:
        return first
    if seam.is_within(first.bbox) and first.bbox[seam.axis + 2] >= seam.end - 1:
        return second
    html = _continued(first.html, second.html)
    if html is None:
        return None
    return replace(first, bbox=_union(first.bbox, second.bbox), html=html)


def _overlaps(first: Bbox, second: Bbox, axis: int) -> bool:
    """Return True if half of the smaller one lies beside the other, on both axes."""
    for at in (0, 1):
        shared = min(first[at + 2], second[at + 2]) - max(first[at], second[at])
        least = min(first[at + 2] - first[at], second[at + 2] - second[at])
        # Along the long side both may go on beyond what they share.
        if shared <= 0 or (at != axis and shared < least / 2):
            return False
        if at == axis and shared < least / 2 and _is_line_like(first, second, axis):
            return False
    return True


def _is_line_like(first: Bbox, second: Bbox, axis: int) -> bool:
    """Return True for boxes of about the same height: lines, not paragraphs."""
    heights = sorted(box[axis + 2] - box[axis] for box in (first, second))
    shared = min(first[axis + 2], second[axis + 2]) - max(first[axis], second[axis])
    return heights[1] < 2 * heights[0] and shared < heights[0] / 4


_TOKEN = re.compile(r"<[^>]*>|[^<\s]+")


def _words(html: str) -> list[str]:
    return [found[0] for found in _TOKEN.finditer(html) if found[0][0] != "<"]


def _continued(first: str, second: str) -> str | None:
    """Return the HTML of `first` and what `second` has after the words both have."""
    places = [found for found in _TOKEN.finditer(first) if found[0][0] != "<"]
    others = [found for found in _TOKEN.finditer(second) if found[0][0] != "<"]
    matcher = SequenceMatcher(
        None, [m[0] for m in places], [m[0] for m in others], autojunk=False
    )
    match = matcher.find_longest_match()
    if match.size < _MIN_SHARED_WORDS:
        return None
    head = first[: places[match.a + match.size - 1].end()]
    tail = second[others[match.b + match.size - 1].end() :]
    return clean(serialise(parse(head + tail).nodes)).strip()


def _join_cut(joined: list[Block], blocks: list[Block], seam: _Seam) -> None:
    """Join the last block and the next strip's first if a cut parted them."""
    first, second = joined[-1], blocks[0]
    if first.bbox is None or second.bbox is None:
        return
    if first.label != second.label or first.label not in _JOINED:
        return
    is_near = (
        seam.start - first.bbox[seam.axis + 2] <= seam.near
        and second.bbox[seam.axis] - seam.start <= seam.near
    )
    across = 1 - seam.axis
    is_beside = min(first.bbox[across + 2], second.bbox[across + 2]) > max(
        first.bbox[across], second.bbox[across]
    )
    if is_near and is_beside:
        nodes = _appended(parse(first.html).nodes, parse(second.html).nodes)
        if nodes is not None:
            html = clean(serialise(nodes)).strip()
            bbox = _union(first.bbox, second.bbox)
            joined[-1] = replace(first, bbox=bbox, html=html)
            del blocks[0]


_CONTAINERS = frozenset({"ul", "ol", "table", "tbody", "pre", "p"})


def _appended(first: list[Node], second: list[Node]) -> list[Node] | None:
    """Return the nodes of two halves, the last of one joined with the other's first."""
    if not first or not second:
        return None
    last, beginning = first[-1], second[0]
    if not isinstance(last, Element) or not isinstance(beginning, Element):
        return None
    if last.tag != beginning.tag or last.tag not in _CONTAINERS:
        return None
    if last.tag in ("p", "pre"):
        between = "\n" if last.tag == "pre" else " "
        children: list[Node] = [*last.children, between, *beginning.children]
    else:
        inner = _appended(last.children, beginning.children)
        children = inner or [*last.children, *beginning.children]
    return [*first[:-1], Element(last.tag, last.attrs, children), *second[1:]]


def _union(first: Bbox, second: Bbox) -> Bbox:
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )
