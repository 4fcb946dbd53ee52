"""Detection of repetition: has the model fallen into a loop, or does the page repeat?

A model in a loop writes the same text until its tokens run out. Pages repeat themselves
as well: rows of empty cells, dot leaders, lines to write on. So the repeated text
decides how many characters of it are a loop. Repetitions that differ only in their
numbers have bounds of their own:

    repeated text                            identical   numbers differ
    a block with its bounding box                1,000            6,000
    words, if a quarter of it are letters        1,000            4,000
    words in table cells                         4,000            8,000
    other content of table cells                10,000         no bound
    other text                                   6,000         no bound

The bounds are above the longest repetitions of correct pages that we could construct:

    1,000   Two blocks of a page never have the same box. No sentence fills ten lines
            with itself.
    4,000   40 rows of three cells "Not applicable" have 3,100 characters; a list from
            "Exhibit 1" to "Exhibit 120" has 2,200.
    6,000   A page of dots or dashes, 50 lines of 100, has 5,000; a sheet of 30 address
            labels, each in its own box, has 3,600.
    8,000   60 rows of a bank statement with the same purpose have 4,600.
   10,000   An empty attendance list of 30 people and a month has 8,600.
 no bound   The rows of a table of numbers differ only in their numbers.

Text must occur at least five times, as in chandra-ocr: a form may have four copies.

A word has at least two letters, so a column of "n/a" has none. Repetitions without a
bound, such as a counter or endless rows of numbers, end at the limit of output tokens.
Lines that were written as a punishment count as a loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

__all__ = ["TAIL", "ends_in_loop", "find_repetition"]

TAIL = 12_000
"""Characters at the end of a text that `ends_in_loop` reads; it ignores the others."""


def ends_in_loop(text: str) -> bool:
    """Return True if the output so far ends in a loop.

    This is the strict rule, with the bounds of the module, for a page that is still
    being read. It is never True for fewer than 1,000 characters, and takes less than a
    millisecond.
    """
    tail = text[-TAIL:]
    return (
        _measure_loop(tail, _STRICT) is not None
        or _measure_loop(_collapse_numbers(tail), _IGNORING_NUMBERS) is not None
    )


def find_repetition(text: str) -> int | None:
    """Return the number of characters before the first loop; None if there is none.

    This is the loose rule, for a page that has ended. Bounds of 1,000 are halved, so
    fewer than 500 characters have no loop. Text may follow the loop; up to 250 more
    repeated characters may be needed to find it then. Every loop that `ends_in_loop`
    finds is found. This takes a few milliseconds.
    """
    start = _find_loop(text, _LOOSE)
    shortened = _collapse_numbers(text)
    other = _find_loop(shortened, _IGNORING_NUMBERS)
    if other is None:
        return start
    other = _expand_position(text, other)
    return other if start is None or other < start else start


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Number of repeated characters that are a loop, by content; None: no bound."""

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
_IGNORING_NUMBERS = _Bounds(6_000, 4_000, 8_000, None, None)

_REPEATS = 5
_STEP = 250
"""Distance in characters between two positions at which a loop is searched."""
_ANCHOR = 32
"""Length of the text's end that is searched before it. Shorter text occurs too often.
"""

_NUMBER = re.compile(r"\d+")
_MARKUP = re.compile(r"<[^<>]*>|&#?\w+;")
_WORD = re.compile(r"[^\W\d_]{2,}")
_CELL = re.compile(r"<t[dh]\b")


def _find_loop(text: str, bounds: _Bounds) -> int | None:
    """Return the number of characters before the first loop; None if there is none."""
    for end in chain(range(bounds.least, len(text), _STEP), [len(text)]):
        length = _measure_loop(text[max(0, end - TAIL) : end], bounds)
        if length is not None:
            return end - length
    return None


def _measure_loop(tail: str, bounds: _Bounds) -> int | None:
    """Return how many characters at the end of `tail` are a loop; None if none are."""
    for period, length in _find_periods(tail):
        if length < bounds.least:
            continue
        # The sample lies within the repetition. It is long enough that a word cut at
        # its start matters little.
        bound = _choose_bound(tail[-max(_LOOSE.least, 2 * period) :], bounds)
        if bound is not None and length >= bound:
            return length
    return None


def _find_periods(tail: str) -> Iterator[tuple[int, int]]:
    """Yield the periods with which the tail ends, and the lengths of the repetitions.

    The smallest period comes first. Each occurs at least `_REPEATS` times.
    """
    width = _ANCHOR
    longest = len(tail) // _REPEATS
    period = 0
    while width < len(tail):
        # Search the end of the tail, from one character further to the left on.
        before = len(tail) - period - 1
        first = max(0, len(tail) - width - longest)
        start = tail.rfind(tail[-width:], first, before)
        if start < 0:
            return
        period = len(tail) - width - start
        if not _has_period(tail, period, 2 * period + _ANCHOR):
            continue
        length = _measure_run(tail, period)
        if length >= period * _REPEATS:
            yield period, length
        # Within this repetition, all other periods are multiples, which reach no
        # further. A longer repetition has this one and the text before it as its
        # period.
        period = length - period
        width = length + 1


def _has_period(tail: str, period: int, length: int) -> bool:
    """Return True if the last `length` characters exist and have this period."""
    start = len(tail) - length
    return start >= 0 and tail[start + period :] == tail[start:-period]


def _measure_run(tail: str, period: int) -> int:
    """Return how many characters at the end of the tail have this period."""
    holds, fails = period, len(tail) + 1
    while fails - holds > 1:
        length = (holds + fails) // 2
        if _has_period(tail, period, length):
            holds = length
        else:
            fails = length
    return holds


def _choose_bound(sample: str, bounds: _Bounds) -> int | None:
    """Return the bound for the repeated text of a sample of two periods or more."""
    if "data-bbox=" in sample:
        return bounds.blocks
    visible = _MARKUP.sub(" ", sample)
    num_letters = sum(map(len, _WORD.findall(visible)))
    has_words = 4 * num_letters >= len(sample)
    if _CELL.search(sample):
        return bounds.words_in_cells if has_words else bounds.cells
    return bounds.words if has_words else bounds.other


def _collapse_numbers(text: str) -> str:
    """Replace each number by one digit."""
    return _NUMBER.sub("0", text)


def _expand_position(text: str, position: int) -> int:
    """Convert a position in `_collapse_numbers(text)` to a position in `text`."""
    for number in _NUMBER.finditer(text):
        if number.start() >= position:
            break
        position += len(number[0]) - 1
    return position
