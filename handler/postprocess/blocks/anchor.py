"""Search for the anchor of two overlapping strips: the last words that both show.

The words of the overlap are compared in reading order, and words that occur once and
at the same position on the page count most.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from handler.postprocess.blocks.layout import Bbox
from handler.schema import Block

__all__ = ["PlacedWord", "Seam", "find_anchor", "has_words"]

_MIN_SHARED_LETTERS = 4
"""Minimum number of letters that an anchor must have."""
_MAX_WORDS = 200
"""Maximum number of words of each strip to compare; four lines have fewer."""
_MIN_REPEAT_WEIGHT = 0.1
"""Minimum weight of repeated words: their positions differ by a whole overlap."""
_TOLERANCE = 0.25
"""Error of boxes that is tolerated, as a share of the overlap."""
_TAG_OR_WORD = re.compile(r"<[^>]*>|[^<\s]+")


@dataclass(frozen=True, slots=True)
class Seam:
    """Overlap or cut between two adjacent strips, along the page's long side.

    `start` and `end` are pixels of the page, and equal if the strips do not overlap.
    """

    axis: int
    """Index of the long side's coordinate in a box: 0 for x, 1 for y."""
    start: int
    end: int
    cut_distance: float
    """Maximum distance of a parted block from the cut, in pixels."""

    def contains(self, box: Bbox) -> bool:
        """Return True if a box lies in the overlap, up to the tolerated error."""
        tolerance = _TOLERANCE * (self.end - self.start)
        low, high = box[self.axis], box[self.axis + 2]
        return low >= self.start - tolerance and high <= self.end + tolerance

    def intersects(self, block: Block) -> bool:
        """Return True if a block has a box that reaches into the overlap."""
        if block.bbox is None:
            return False
        low, high = block.bbox[self.axis], block.bbox[self.axis + 2]
        return high > self.start and low < self.end

    def repeat_weight(self, shift: float) -> float:
        """Return the weight, at most 1, of equal words that occur more than once.

        It falls with `shift`, the difference of their positions in pixels. Rows that
        repeat have long runs of equal words one row apart, and only their positions
        tell that they are different rows.
        """
        distance = min(1.0, abs(shift) / max(1, self.end - self.start))
        return max(_MIN_REPEAT_WEIGHT, (1 - distance) ** 3)

    def share_in_overlap(self, box: Bbox) -> float:
        """Return an upper bound for the share of a box's words in the overlap."""
        low, high = box[self.axis], box[self.axis + 2]
        overlap = min(high, self.end) - max(low, self.start)
        return min(1.0, (overlap + (self.end - self.start) / 2) / max(1, high - low))


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """Word of a block, with its estimated position on the page."""

    text: str
    block_index: int
    """Index of the word's block in the list of its strip."""
    end: int
    """Index of the word's end in the block's HTML."""
    position: float
    """Estimated position along the long side, in pixels of the page."""


def find_anchor(
    joined: list[Block],
    column_tails: list[int],
    blocks: list[Block],
    column_heads: list[int],
    seam: Seam,
) -> tuple[PlacedWord, PlacedWord] | None:
    """Return the last word of the anchor in each strip; None if there is no anchor."""
    words: list[PlacedWord] = []
    for index in column_tails:
        block_words = _place_words(joined[index], index, seam.axis)
        num_words = _num_words_in_overlap(joined[index], block_words, seam)
        words += block_words[len(block_words) - num_words :]
    other_words: list[PlacedWord] = []
    for index in column_heads:
        block_words = _place_words(blocks[index], index, seam.axis)
        num_words = _num_words_in_overlap(blocks[index], block_words, seam)
        other_words += block_words[:num_words]
    return _find_best_common_run(words[-_MAX_WORDS:], other_words[:_MAX_WORDS], seam)


def _find_best_common_run(
    words: list[PlacedWord], other_words: list[PlacedWord], seam: Seam
) -> tuple[PlacedWord, PlacedWord] | None:
    """Return the last word of the best run of equal words, once for each strip.

    Return None if no run has enough letters. Long runs, words that occur only once, and
    words at the same position count more.
    """
    counts = Counter(word.text for word in words)
    indices: dict[str, list[int]] = {}
    for index, other_word in enumerate(other_words):
        indices.setdefault(other_word.text, []).append(index)
    best: tuple[PlacedWord, PlacedWord] | None = None
    best_score = 0.0
    runs: dict[int, _Run] = {}
    for word in words:
        longer_runs: dict[int, _Run] = {}
        for index in indices.get(word.text, ()):
            other_word = other_words[index]
            is_unique = counts[word.text] == len(indices[word.text]) == 1
            run = runs.get(index - 1, _NO_RUN).extend(word, other_word, is_unique)
            longer_runs[index] = run
            num_repeated = run.num_letters - run.num_unique_letters
            score = run.num_letters * (
                run.num_unique_letters + seam.repeat_weight(run.shift) * num_repeated
            )
            if run.num_letters >= _MIN_SHARED_LETTERS and score > best_score:
                best, best_score = (word, other_word), score
        runs = longer_runs
    return best


class _Run(NamedTuple):
    """Run of equal words that follow each other in both strips."""

    num_letters: int = 0
    num_unique_letters: int = 0
    """Letters of the words that occur exactly once at the seam in each strip."""
    num_words: int = 0
    total_shift: float = 0.0

    @property
    def shift(self) -> float:
        """Mean difference of the words' positions, in page pixels."""
        return self.total_shift / self.num_words

    def extend(self, word: PlacedWord, other_word: PlacedWord, is_unique: bool) -> _Run:
        """Return a run that is longer by one word; this run is not changed."""
        num_letters = len(word.text)
        return _Run(
            self.num_letters + num_letters,
            self.num_unique_letters + is_unique * num_letters,
            self.num_words + 1,
            self.total_shift + other_word.position - word.position,
        )


_NO_RUN = _Run()


def _num_words_in_overlap(block: Block, words: list[PlacedWord], seam: Seam) -> int:
    assert block.bbox is not None
    return math.ceil(seam.share_in_overlap(block.bbox) * len(words))


def _place_words(block: Block, index: int, axis: int) -> list[PlacedWord]:
    """Return the words of a block, with positions spread evenly over its box."""
    assert block.bbox is not None
    matches = [m for m in _TAG_OR_WORD.finditer(block.html) if m[0][0] != "<"]
    low, high = block.bbox[axis], block.bbox[axis + 2]
    step = (high - low) / max(1, len(matches))
    return [
        PlacedWord(match[0], index, match.end(), low + (number + 0.5) * step)
        for number, match in enumerate(matches)
    ]


def has_words(html: str) -> bool:
    """Return True if the HTML contains words outside tags."""
    return any(match[0][0] != "<" for match in _TAG_OR_WORD.finditer(html))
