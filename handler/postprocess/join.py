"""Join the blocks of a long page's strips: no line lost, none twice.

Where strips overlap, both show the same lines. Words that both have at about the same
place are looked up; the first strip's blocks count up to the end of these, and the
second's after it. So a
line that the edge of a strip cuts, and of which the model made other words, is taken
from the other strip. Where a cut runs through a paragraph, list or table without an
overlap, its halves are joined.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from handler.postprocess.layout import Bbox
from handler.postprocess.markup import Element, Node, parse, serialise
from handler.postprocess.sanitise import clean
from handler.schema import Block, Strip

__all__ = ["StripAnswer", "join_blocks"]

_MIN_SHARED_LETTERS = 4
"""Letters of the words that two strips must have in common to be joined there."""
_MAX_WORDS = 200
"""Words that are compared at a seam, for each strip; four lines have fewer."""
_MIN_TRUST = 0.1
"""Weight of repeated words in common that are an overlap apart; most are others."""
_SAME_PLACE = 0.5
"""Part of the larger of two boxes that both cover, from which they are the same."""
_TOLERANCE = 0.25
"""Part of an overlap by which boxes may be wrong."""
_JOINED = frozenset({"Text", "List-Group", "Table", "Code-Block", "Table-Of-Contents"})
_NEAR = 0.1
"""Distance from a cut within which a block ends there, as a part of the strip."""


@dataclass(frozen=True, slots=True)
class StripAnswer:
    """The model's answer for one strip of a page."""

    strip: Strip
    text: str


@dataclass(frozen=True, slots=True)
class _Seam:
    """The end of one strip and the beginning of the next, along the long side."""

    axis: int
    start: int
    end: int
    """Page pixels; equal to `start` where the strips do not overlap."""
    near: float

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
        """Return how likely words at two places are the same, which is at most 1.

        Rows that repeat have long runs of words in common one row off, of which only
        the place tells that they are others.
        """
        distance = min(1.0, abs(shift) / max(1, self.end - self.start))
        return max(_MIN_TRUST, (1 - distance) ** 3)

    def share(self, box: Bbox) -> float:
        """Return the part of a box's words that the overlap may show, generously."""
        low, high = box[self.axis], box[self.axis + 2]
        shown = min(high, self.end) - max(low, self.start)
        return min(1.0, (shown + (self.end - self.start) / 2) / max(1, high - low))


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    index: int
    """Of its block."""
    end: int
    """Of the word in the block's HTML."""
    place: float
    """Estimate along the long side, in page pixels."""


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
    heads = [index for index, block in enumerate(blocks) if seam.touches(block)]
    tails = [index for index, block in enumerate(joined) if seam.touches(block)]
    dropped_tails: set[int] = set()
    dropped_heads: set[int] = set()
    for tail, head in _columns(joined, tails, blocks, heads, 1 - seam.axis):
        anchor = _anchor(joined, tail, blocks, head, seam)
        if anchor is not None:
            first, second = anchor
            _continue(joined, blocks, first, second, dropped_heads)
            dropped_tails |= {
                index
                for index in tail
                if index > first.index and _is_seen(joined[index], blocks, head, seam)
            }
            dropped_heads |= {
                index
                for index in head
                if index < second.index and _is_seen(blocks[index], joined, tail, seam)
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


def _columns(
    joined: list[Block],
    tails: list[int],
    blocks: list[Block],
    heads: list[int],
    across: int,
) -> list[tuple[list[int], list[int]]]:
    """Return the blocks of each column of the page: of the first strip, the second."""
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


def _anchor(
    joined: list[Block],
    tail: list[int],
    blocks: list[Block],
    head: list[int],
    seam: _Seam,
) -> tuple[_Word, _Word] | None:
    """Return the last of the words that both strips have, in each of them."""
    words: list[_Word] = []
    for index in tail:
        found = _words(joined[index], index, seam.axis)
        words += found[len(found) - _num_shown(joined[index], found, seam) :]
    others: list[_Word] = []
    for index in head:
        found = _words(blocks[index], index, seam.axis)
        others += found[: _num_shown(blocks[index], found, seam)]
    return _best_run(words[-_MAX_WORDS:], others[:_MAX_WORDS], seam)


def _best_run(
    words: list[_Word], others: list[_Word], seam: _Seam
) -> tuple[_Word, _Word] | None:
    """Return the last words of the most likely run of words in common.

    Long runs are likely, and so are words that occur once and words at one place.
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
            run = runs.get(index - 1, _NO_RUN).followed_by(word, other, is_unique)
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
    """Words that follow each other in both strips."""

    num_letters: int = 0
    num_unique_letters: int = 0
    """Letters of words that occur once at the seam, in each of the strips."""
    num_words: int = 0
    total_shift: float = 0.0

    @property
    def shift(self) -> float:
        """Mean distance of the words' places, in page pixels."""
        return self.total_shift / self.num_words

    def followed_by(self, word: _Word, other: _Word, is_unique: bool) -> _Run:
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
    return math.ceil(seam.share(block.bbox) * len(words))


def _continue(
    joined: list[Block],
    blocks: list[Block],
    first: _Word,
    second: _Word,
    dropped_heads: set[int],
) -> None:
    """Let the first strip's block end with the anchor, and go on with the second's."""
    before, after = joined[first.index], blocks[second.index]
    rest = after.html[second.end :]
    begun = before.html[: first.end]
    if not _has_words(rest):
        if _has_words(before.html[first.end :]):
            joined[first.index] = replace(before, html=_tidy(begun))
        dropped_heads.add(second.index)
    elif before.label == after.label and before.bbox and after.bbox:
        joined[first.index] = replace(
            before, bbox=_union(before.bbox, after.bbox), html=_tidy(begun + rest)
        )
        dropped_heads.add(second.index)
    else:
        joined[first.index] = replace(before, html=_tidy(begun))
        blocks[second.index] = replace(after, html=_tidy(rest))


def _is_seen(
    block: Block, others: list[Block], indices: list[int], seam: _Seam
) -> bool:
    """Return True if the other strip shows a block too."""
    assert block.bbox is not None
    return seam.is_within(block.bbox) or any(
        _is_same(block, others[index]) for index in indices
    )


def _is_same(first: Block, second: Block) -> bool:
    """Return True for blocks of one kind at the same place."""
    if first.bbox is None or second.bbox is None or first.label != second.label:
        return False
    areas = [_area(box) for box in (first.bbox, second.bbox)]
    inner = (
        max(first.bbox[0], second.bbox[0]),
        max(first.bbox[1], second.bbox[1]),
        min(first.bbox[2], second.bbox[2]),
        min(first.bbox[3], second.bbox[3]),
    )
    return _area(inner) >= _SAME_PLACE * max(areas)


def _area(box: Bbox) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


_TOKEN = re.compile(r"<[^>]*>|[^<\s]+")


def _words(block: Block, index: int, axis: int) -> list[_Word]:
    assert block.bbox is not None
    found = [each for each in _TOKEN.finditer(block.html) if each[0][0] != "<"]
    low, high = block.bbox[axis], block.bbox[axis + 2]
    step = (high - low) / max(1, len(found))
    return [
        _Word(each[0], index, each.end(), low + (number + 0.5) * step)
        for number, each in enumerate(found)
    ]


def _has_words(html: str) -> bool:
    """Return True if there are words in a piece of HTML."""
    return any(found[0][0] != "<" for found in _TOKEN.finditer(html))


def _tidy(html: str) -> str:
    return clean(serialise(_nodes(html))).strip()


def _nodes(html: str) -> list[Node]:
    return parse(html, is_one_block=True).nodes


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
        nodes = _appended(_nodes(first.html), _nodes(second.html))
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
