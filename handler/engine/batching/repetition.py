"""Tell a model that repeats itself from a page that does.

A model that falls into a loop says the same until its tokens run out. Pages repeat
themselves as well: rows of empty cells, dots that lead to a page number, lines to
write on. What repeats decides how much of it is too much, in characters:

    what repeats                             as it is   but for its numbers
    a block, its box included                   1,000                 6,000
    words: a quarter of it, without markup      1,000                 4,000
    words in table cells                        4,000                 8,000
    anything else in table cells               10,000                 never
    anything else                               6,000                 never

Why so much, in the longest honest pages we could make up:

    1,000   two blocks of a page never share a box; a sentence that fills ten lines
            with itself is no sentence any more
    4,000   40 rows of three cells "Not applicable" have 3,100; a list from "Exhibit 1"
            to "Exhibit 120" 2,200
    6,000   a page of dots or dashes, 50 lines of 100, has 5,000; a sheet of 30 address
            labels, each in its box, 3,600
    8,000   60 rows of a bank statement with one and the same purpose have 4,600
   10,000   a month's attendance of 30 people, not filled in, has 8,600
    never   the rows of a table of numbers differ in nothing but their numbers

And at least five times, as chandra-ocr has it: a form of four copies is a page.

Two letters or more are a word, so a column of "n/a" has none. What never counts, a
counter alone or endless rows of numbers, ends at the limit on output tokens. Lines
written as a punishment are taken for a loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

__all__ = ["TAIL", "ends_in_loop", "find_repetition"]

TAIL = 12_000
"""Characters at the end of a text that `ends_in_loop` looks at; more is no use."""


def ends_in_loop(text: str) -> bool:
    """Whether a model that has said this so far will say nothing else any more.

    The strict rule, for a page that is being read. The bounds are the module's,
    so never true for fewer than 1,000 characters. Takes less than a millisecond.
    """
    tail = text[-TAIL:]
    return (
        _loop_length(tail, _STRICT) is not None
        or _loop_length(_without_numbers(tail), _BUT_FOR_NUMBERS) is not None
    )


def find_repetition(text: str) -> int | None:
    """Characters before the first loop, which may be followed by other text.

    The looser rule, for a page that has ended: of what has a bound of 1,000, half is
    too much, so there is none in fewer than 500 characters. Where the text goes on
    after a loop, up to 250 more may be needed to find it. Finds all that
    `ends_in_loop` does. Takes a few milliseconds.
    """
    start = _first_loop(text, _LOOSE)
    shortened = _without_numbers(text)
    other = _first_loop(shortened, _BUT_FOR_NUMBERS)
    if other is None:
        return start
    other = _with_numbers(text, other)
    return other if start is None or other < start else start


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Characters of one period that are too much; None: none are."""

    blocks: int
    words: int
    words_in_cells: int
    cells: int | None
    other: int | None

    @property
    def least(self) -> int:
        return min(self.blocks, self.words)


_STRICT = _Bounds(1_000, 1_000, 4_000, 10_000, 6_000)
_LOOSE = _Bounds(500, 500, 4_000, 10_000, 6_000)
_BUT_FOR_NUMBERS = _Bounds(6_000, 4_000, 8_000, None, None)

_REPEATS = 5
_STEP = 250
"""Characters between two places at which a text is asked whether it is in a loop."""
_ANCHOR = 32
"""Characters at the end that are looked for before it; fewer are found too often."""

_NUMBER = re.compile(r"\d+")
_MARKUP = re.compile(r"<[^<>]*>|&#?\w+;")
_WORD = re.compile(r"[^\W\d_]{2,}")
_CELL = re.compile(r"<t[dh]\b")


def _first_loop(text: str, bounds: _Bounds) -> int | None:
    for end in chain(range(bounds.least, len(text), _STEP), [len(text)]):
        length = _loop_length(text[max(0, end - TAIL) : end], bounds)
        if length is not None:
            return end - length
    return None


def _loop_length(tail: str, bounds: _Bounds) -> int | None:
    """How much of the tail is a loop, in characters, None where it ends in none."""
    for period, length in _runs(tail):
        if length < bounds.least:
            continue
        # All of it inside the run, and enough for a word cut at its edge to be little.
        bound = _bound(tail[-max(_LOOSE.least, 2 * period) :], bounds)
        if bound is not None and length >= bound:
            return length
    return None


def _runs(tail: str) -> Iterator[tuple[int, int]]:
    """Periods that end the tail often enough, the smallest first, and their lengths.

    A period holds as far as the end of the tail occurs once more that far before.
    """
    width = _ANCHOR
    longest = len(tail) // _REPEATS
    period = 0
    while width < len(tail):
        # The end of the tail, looked for one character further to the left.
        before = len(tail) - period - 1
        first = max(0, len(tail) - width - longest)
        start = tail.rfind(tail[-width:], first, before)
        if start < 0:
            return
        period = len(tail) - width - start
        if not _has_period(tail, period, 2 * period + _ANCHOR):
            continue
        length = _run_length(tail, period)
        if length >= period * _REPEATS:
            yield period, length
        # As far as this run reaches, nothing but its multiples hold, no further than
        # it does; a longer run repeats all of this one and what stands before it.
        period = length - period
        width = length + 1


def _has_period(tail: str, period: int, length: int) -> bool:
    """Whether the last `length` characters are there, and repeat after `period`."""
    start = len(tail) - length
    return start >= 0 and tail[start + period :] == tail[start:-period]


def _run_length(tail: str, period: int) -> int:
    """How far back the period holds, in characters."""
    holds, fails = period, len(tail) + 1
    while fails - holds > 1:
        length = (holds + fails) // 2
        if _has_period(tail, period, length):
            holds = length
        else:
            fails = length
    return holds


def _bound(sample: str, bounds: _Bounds) -> int | None:
    """The bound for what repeats in the sample, which is two periods or more."""
    if "data-bbox=" in sample:
        return bounds.blocks
    visible = _MARKUP.sub(" ", sample)
    num_letters = sum(map(len, _WORD.findall(visible)))
    has_words = 4 * num_letters >= len(sample)
    if _CELL.search(sample):
        return bounds.words_in_cells if has_words else bounds.cells
    return bounds.words if has_words else bounds.other


def _without_numbers(text: str) -> str:
    """The text with one digit for each number."""
    return _NUMBER.sub("0", text)


def _with_numbers(text: str, position: int) -> int:
    """Where in the text a position in `_without_numbers(text)` is."""
    for number in _NUMBER.finditer(text):
        if number.start() >= position:
            break
        position += len(number[0]) - 1
    return position
