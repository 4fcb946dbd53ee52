"""Joining of the blocks of a long page's strips, without lost or repeated lines.

Adjacent strips that overlap show the same lines. The anchor is the last run of words
that both strips have at about the same position. The first strip's text is kept up to
the end of the anchor, and the second strip's text after it. A line that the edge of one
strip cuts, and that the model therefore misreads, is thus taken from the other strip.
Where a cut without overlap parts a paragraph, list or table, its halves are joined.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from handler.postprocess.blocks.layout import Bbox
from handler.postprocess.html.markup import Element, Node, parse, serialise
from handler.postprocess.html.sanitise import clean
from handler.schema import Block, Strip

__all__ = ["StripAnswer", "join_blocks"]

_MIN_SHARED_LETTERS = 4
"""Minimum number of letters that an anchor must have."""
_MAX_WORDS = 200
"""Maximum number of words of each strip to compare; four lines have fewer."""
_MIN_TRUST = 0.1
"""Weight of repeated words whose positions differ by a whole overlap."""
_MIN_SHARED_AREA = 0.5
"""Share of the larger box that the boxes of equal blocks have in common."""
_TOLERANCE = 0.25
"""Error of boxes that is tolerated, as a share of the overlap."""
_CUT_LABELS = frozenset(
    {"Text", "List-Group", "Table", "Code-Block", "Table-Of-Contents"}
)
_MAX_CUT_DISTANCE = 0.1
"""Maximum distance of a parted block from the cut, as a share of the strip."""


@dataclass(frozen=True, slots=True)
class StripAnswer:
    """Output of the model for one strip of a page."""

    strip: Strip
    text: str


@dataclass(frozen=True, slots=True)
class _Seam:
    """Overlap or cut between two adjacent strips, along the page's long side."""

    axis: int
    start: int
    end: int
    """Page pixels; equal to `start` if the strips do not overlap."""
    cut_distance: float

    def is_within(self, box: Bbox) -> bool:
        tolerance = _TOLERANCE * (self.end - self.start)
        low, high = box[self.axis], box[self.axis + 2]
        return low >= self.start - tolerance and high <= self.end + tolerance

    def touches(self, block: Block) -> bool:
        if block.bbox is None:
            return False
        low, high = block.bbox[self.axis], block.bbox[self.axis + 2]
        return high > self.start and low < self.end

    def trust(self, shift: float) -> float:
        """Return the weight of equal words whose positions differ by `shift` pixels.

        The weight is at most 1. Rows that repeat have long runs of equal words one row
        apart, and only their positions tell that they are different rows.
        """
        distance = min(1.0, abs(shift) / max(1, self.end - self.start))
        return max(_MIN_TRUST, (1 - distance) ** 3)

    def visible_share(self, box: Bbox) -> float:
        """Return an upper bound for the share of a box's words in the overlap."""
        low, high = box[self.axis], box[self.axis + 2]
        shown = min(high, self.end) - max(low, self.start)
        return min(1.0, (shown + (self.end - self.start) / 2) / max(1, high - low))


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    index: int
    """Index of the word's block."""
    end: int
    """Index of the word's end in the block's HTML."""
    place: float
    """Estimated position along the long side, in page pixels."""


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
        seam = _Seam(axis, start, start + strip.overlap, _MAX_CUT_DISTANCE * length)
        # Strips with a failed or blank strip between them do not meet.
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
    """Remove the blocks and words that both lists have, and join parted blocks."""
    heads = [index for index, block in enumerate(blocks) if seam.touches(block)]
    tails = [index for index, block in enumerate(joined) if seam.touches(block)]
    dropped_tails: set[int] = set()
    dropped_heads: set[int] = set()
    for tail, head in _group_by_column(joined, tails, blocks, heads, 1 - seam.axis):
        anchor = _find_anchor(joined, tail, blocks, head, seam)
        if anchor is not None:
            first, second = anchor
            _continue_block(joined, blocks, first, second, dropped_heads)
            dropped_tails |= {
                index
                for index in tail
                if index > first.index
                and _is_shown_twice(joined[index], blocks, head, seam)
            }
            dropped_heads |= {
                index
                for index in head
                if index < second.index
                and _is_shown_twice(blocks[index], joined, tail, seam)
            }
        for index in head:
            if index not in dropped_heads and any(
                _is_same(blocks[index], joined[other])
                for other in tail
                if other not in dropped_tails
            ):
                dropped_heads.add(index)
    joined[:] = [b for index, b in enumerate(joined) if index not in dropped_tails]
    blocks[:] = [b for index, b in enumerate(blocks) if index not in dropped_heads]


def _group_by_column(
    joined: list[Block],
    tails: list[int],
    blocks: list[Block],
    heads: list[int],
    across: int,
) -> list[tuple[list[int], list[int]]]:
    """Return the block indices of each column: those of the first strip, and second."""
    entries = [(joined[index].bbox, 0, index) for index in tails]
    entries += [(blocks[index].bbox, 1, index) for index in heads]
    columns: list[tuple[list[int], list[int]]] = []
    end = -1
    for box, side, index in sorted(entries, key=lambda entry: (entry[0] or ())[across]):
        assert box is not None
        if box[across] >= end:
            columns.append(([], []))
        columns[-1][side].append(index)
        end = max(end, box[across + 2])
    return [(sorted(tail), sorted(head)) for tail, head in columns]


def _find_anchor(
    joined: list[Block],
    tail: list[int],
    blocks: list[Block],
    head: list[int],
    seam: _Seam,
) -> tuple[_Word, _Word] | None:
    """Return the last word of the anchor in each strip; None if there is no anchor."""
    words: list[_Word] = []
    for index in tail:
        found = _split_words(joined[index], index, seam.axis)
        words += found[len(found) - _num_shown(joined[index], found, seam) :]
    others: list[_Word] = []
    for index in head:
        found = _split_words(blocks[index], index, seam.axis)
        others += found[: _num_shown(blocks[index], found, seam)]
    return _find_best_run(words[-_MAX_WORDS:], others[:_MAX_WORDS], seam)


def _find_best_run(
    words: list[_Word], others: list[_Word], seam: _Seam
) -> tuple[_Word, _Word] | None:
    """Return the last words, one of each strip, of the best run of equal words.

    Long runs, words that occur only once, and words at the same position count more.
    """
    counts = Counter(word.text for word in words)
    indices: dict[str, list[int]] = {}
    for index, other in enumerate(others):
        indices.setdefault(other.text, []).append(index)
    best: tuple[_Word, _Word] | None = None
    best_merit = 0.0
    runs: dict[int, _Run] = {}
    for word in words:
        longer: dict[int, _Run] = {}
        for index in indices.get(word.text, ()):
            other = others[index]
            is_unique = counts[word.text] == len(indices[word.text]) == 1
            run = runs.get(index - 1, _NO_RUN).extended(word, other, is_unique)
            longer[index] = run
            num_repeated = run.num_letters - run.num_unique_letters
            merit = run.num_letters * (
                run.num_unique_letters + seam.trust(run.shift) * num_repeated
            )
            if run.num_letters >= _MIN_SHARED_LETTERS and merit > best_merit:
                best, best_merit = (word, other), merit
        runs = longer
    return best


class _Run(NamedTuple):
    """Run of words that follow each other in both strips."""

    num_letters: int = 0
    num_unique_letters: int = 0
    """Letters of the words that occur exactly once at the seam in each strip."""
    num_words: int = 0
    total_shift: float = 0.0

    @property
    def shift(self) -> float:
        """Mean difference of the words' positions, in page pixels."""
        return self.total_shift / self.num_words

    def extended(self, word: _Word, other: _Word, is_unique: bool) -> _Run:
        num_letters = len(word.text)
        return _Run(
            self.num_letters + num_letters,
            self.num_unique_letters + is_unique * num_letters,
            self.num_words + 1,
            self.total_shift + other.place - word.place,
        )


_NO_RUN = _Run()


def _num_shown(block: Block, words: list[_Word], seam: _Seam) -> int:
    assert block.bbox is not None
    return math.ceil(seam.visible_share(block.bbox) * len(words))


def _continue_block(
    joined: list[Block],
    blocks: list[Block],
    first: _Word,
    second: _Word,
    dropped_heads: set[int],
) -> None:
    """End the first strip's block at the anchor and append the second strip's rest.

    Blocks with different labels stay separate.
    """
    before, after = joined[first.index], blocks[second.index]
    rest = after.html[second.end :]
    begun = before.html[: first.end]
    if not _has_words(rest):
        if _has_words(before.html[first.end :]):
            joined[first.index] = replace(before, html=_clean_fragment(begun))
        dropped_heads.add(second.index)
    elif before.label == after.label and before.bbox and after.bbox:
        joined[first.index] = replace(
            before,
            bbox=_union(before.bbox, after.bbox),
            html=_clean_fragment(begun + rest),
        )
        dropped_heads.add(second.index)
    else:
        joined[first.index] = replace(before, html=_clean_fragment(begun))
        blocks[second.index] = replace(after, html=_clean_fragment(rest))


def _is_shown_twice(
    block: Block, others: list[Block], indices: list[int], seam: _Seam
) -> bool:
    """Return True if the other strip also shows the block."""
    assert block.bbox is not None
    return seam.is_within(block.bbox) or any(
        _is_same(block, others[index]) for index in indices
    )


def _is_same(first: Block, second: Block) -> bool:
    """Return True for blocks with the same label at the same position."""
    if first.bbox is None or second.bbox is None or first.label != second.label:
        return False
    areas = [_area(box) for box in (first.bbox, second.bbox)]
    inner = (
        max(first.bbox[0], second.bbox[0]),
        max(first.bbox[1], second.bbox[1]),
        min(first.bbox[2], second.bbox[2]),
        min(first.bbox[3], second.bbox[3]),
    )
    return _area(inner) >= _MIN_SHARED_AREA * max(areas)


def _area(box: Bbox) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


_TOKEN = re.compile(r"<[^>]*>|[^<\s]+")


def _split_words(block: Block, index: int, axis: int) -> list[_Word]:
    assert block.bbox is not None
    found = [each for each in _TOKEN.finditer(block.html) if each[0][0] != "<"]
    low, high = block.bbox[axis], block.bbox[axis + 2]
    step = (high - low) / max(1, len(found))
    return [
        _Word(each[0], index, each.end(), low + (number + 0.5) * step)
        for number, each in enumerate(found)
    ]


def _has_words(html: str) -> bool:
    """Return True if the HTML contains words outside tags."""
    return any(found[0][0] != "<" for found in _TOKEN.finditer(html))


def _clean_fragment(html: str) -> str:
    return clean(serialise(_parse_block(html))).strip()


def _parse_block(html: str) -> list[Node]:
    return parse(html, is_one_block=True).nodes


def _join_cut(joined: list[Block], blocks: list[Block], seam: _Seam) -> None:
    """Join the last block and the next strip's first block if the cut parted them."""
    first, second = joined[-1], blocks[0]
    if first.bbox is None or second.bbox is None:
        return
    if first.label != second.label or first.label not in _CUT_LABELS:
        return
    is_near = (
        seam.start - first.bbox[seam.axis + 2] <= seam.cut_distance
        and second.bbox[seam.axis] - seam.start <= seam.cut_distance
    )
    across = 1 - seam.axis
    is_beside = min(first.bbox[across + 2], second.bbox[across + 2]) > max(
        first.bbox[across], second.bbox[across]
    )
    if is_near and is_beside:
        nodes = _join_halves(_parse_block(first.html), _parse_block(second.html))
        if nodes is not None:
            html = clean(serialise(nodes)).strip()
            bbox = _union(first.bbox, second.bbox)
            joined[-1] = replace(first, bbox=bbox, html=html)
            del blocks[0]


_CONTAINER_TAGS = frozenset({"ul", "ol", "table", "tbody", "pre", "p"})


def _join_halves(first: list[Node], second: list[Node]) -> list[Node] | None:
    """Return the nodes of both halves, with the two nodes at the cut joined.

    Return None if those two nodes cannot be joined.
    """
    if not first or not second:
        return None
    last, beginning = first[-1], second[0]
    if not isinstance(last, Element) or not isinstance(beginning, Element):
        return None
    if last.tag != beginning.tag or last.tag not in _CONTAINER_TAGS:
        return None
    if last.tag in ("p", "pre"):
        between = "\n" if last.tag == "pre" else " "
        children: list[Node] = [*last.children, between, *beginning.children]
    else:
        inner = _join_halves(last.children, beginning.children)
        children = inner or [*last.children, *beginning.children]
    return [*first[:-1], Element(last.tag, last.attrs, children), *second[1:]]


def _union(first: Bbox, second: Bbox) -> Bbox:
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )
