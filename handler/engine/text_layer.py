"""The text a PDF carries, as a source of what a page will say next.

Strings only. Compared without white space, because viewers and models put it in
different places; proposed as it stands in the layer.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Ahead", "TextLayer", "comparable"]

MAX_CHARACTERS = 100_000
"""A page of small print has 20,000; what comes after is not looked at."""
MATCH_LENGTHS = (24, 16, 10, 6)
"""Characters that must be the same, the most telling first."""
_TELLING = 16
"""Fewer count only near the last match, or where the layer has them once."""
_NEAR = 400
_SHORT_LINE = 0.8
"""A line this much shorter than its neighbours ends a paragraph."""

# pdfium's signs for a hyphen at a line's end; which one depends on the call.
_LINE_END_HYPHENS = re.compile("[\x02\ufffe]\n?|[-\u2010\u00ad][ \t]*\n")
_LINE_ENDS = re.compile("\r\n?|[\n\x0b\x0c\x85\u2028\u2029]")
_LETTERS = {
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
}
_LOOKALIKES = str.maketrans(
    "\u2018\u2019\u201c\u201d\u2010\u2011\u2012\u2013\u2014\u2212\u00b7\u2022",
    "''\"\"------..",
)
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn")


@dataclass(frozen=True, slots=True)
class Ahead:
    """What the layer says from some place on."""

    text: str
    ends_paragraph: bool
    ends_word: bool


class TextLayer:
    """A text layer, and how far into it the output has got."""

    def __init__(self, layer: str) -> None:
        lines = _lines(layer[:MAX_CHARACTERS])
        text: list[str] = []
        keys: list[str] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        num_keys = 0
        for line in lines:
            line_keys = comparable(line.text)
            if not line_keys:
                continue
            self._starts.append(num_keys)
            num_keys += len(line_keys)
            keys.append(line_keys)
            text += (line.text, "" if line.is_joined else " ")
            if line.ends_paragraph:
                self._ends.append(num_keys)
        if num_keys and self._ends[-1:] != [num_keys]:
            self._ends.append(num_keys)
        self._text = "".join(text)
        self._keys = "".join(keys)
        places = (i for i, letter in enumerate(self._text) if letter != " ")
        self._places = array("I", places)
        self._is_read = bytearray(len(self._starts))
        self.place = 0
        self.is_found = True

    def rewind(self) -> None:
        """The output starts over."""
        self._is_read = bytearray(len(self._starts))
        self.place = 0
        self.is_found = True

    def follow(self, visible: str, num_new: int) -> None:
        """Go to the place that ends with `visible`.

        That is the end of the output in comparable characters, `num_new` of them
        not shown before.
        """
        if num_new == 0:
            return
        place = self.place
        if (
            self.is_found
            and num_new <= len(visible)
            and self._keys.startswith(visible[-num_new:], place)
        ):
            self._advance(place, place + num_new)
            return
        self.is_found = False
        for length in MATCH_LENGTHS:
            found = self._find(visible[-length:]) if len(visible) >= length else None
            if found is not None:
                self._advance(found, found + length)
                return

    def begin_block(self) -> None:
        """Go where a new block most likely begins, until it turns out otherwise."""
        self.place = self.next_block(self.place)
        self.is_found = True

    def next_block(self, place: int) -> int:
        """Where a new paragraph, heading or cell most likely begins."""
        line = bisect_left(self._starts, place)
        is_within_line = self._starts[line : line + 1] != [place]
        if is_within_line and place != len(self._keys):
            return place
        unread = self._is_read.find(0, line)
        if unread < 0:
            unread = self._is_read.find(0)
        return self._starts[unread] if unread >= 0 else place

    def ahead(
        self, place: int, num_characters: int, *, begins_text: bool = False
    ) -> Ahead:
        """The next words of a paragraph, about so many characters at most.

        Where one ends another begins: `begins_text` says which of them is meant.
        """
        index = (bisect_right if begins_text else bisect_left)(self._ends, place)
        if index == len(self._ends) or place == self._ends[index]:
            return Ahead("", ends_paragraph=bool(place), ends_word=True)
        end = self._ends[index]
        first = self._places[place - 1] + 1 if place else 0
        text = self._text[first : self._places[end - 1] + 1]
        if len(text) <= num_characters:
            return Ahead(text, ends_paragraph=True, ends_word=True)
        border = text.rfind(" ", 0, num_characters + 1)
        ends_word = border > 0
        text = text[: border if ends_word else num_characters]
        return Ahead(text, ends_paragraph=False, ends_word=ends_word)

    def _find(self, tail: str) -> int | None:
        length = len(tail)
        keys, near = self._keys, self.place
        place = keys.find(tail, max(0, near - length), near + _NEAR)
        if place < 0:
            place = keys.find(tail, near)
        if place < 0:
            place = keys.find(tail)
        if place < 0:
            return None
        is_near = abs(place - near) <= _NEAR
        if length < _TELLING and not is_near and keys.rfind(tail) != keys.find(tail):
            return None
        return place

    def _advance(self, begin: int, end: int) -> None:
        first = max(0, bisect_right(self._starts, begin) - 1)
        last = bisect_left(self._starts, end)
        self._is_read[first:last] = b"\1" * (last - first)
        self.place = end
        self.is_found = True


def comparable(text: str) -> str:
    """Text as it is compared: no white space, nothing unseen, plain punctuation."""
    text = text.translate(_LETTERS).translate(_LOOKALIKES)
    if text.isascii() and text.isprintable():
        return text.replace(" ", "")
    return "".join(c for c in text if not c.isspace() and _is_seen(c))


@dataclass(slots=True)
class _Line:
    text: str
    is_joined: bool = False
    """To the next one, without a space between."""
    ends_paragraph: bool = False


def _lines(layer: str) -> list[_Line]:
    layer = _LINE_ENDS.sub("\n", layer)
    layer = _LINE_END_HYPHENS.sub("-\n", layer)
    layer = unicodedata.normalize("NFC", layer.translate(_LETTERS))
    lines = [_Line(" ".join(_seen(line).split())) for line in layer.split("\n")]
    for line, following in pairwise(lines):
        word, hyphen, first = line.text[-2:-1], line.text[-1:], following.text[:1]
        if hyphen == "-" and word.isalnum() and first.isalnum():
            line.is_joined = True
            if first.islower():
                line.text = line.text[:-1]
    _find_paragraphs(lines)
    return lines


def _find_paragraphs(lines: list[_Line]) -> None:
    for i, line in enumerate(lines[:-1]):
        before, following = lines[max(0, i - 1)].text, lines[i + 1].text
        longest = max(len(before), len(following))
        is_short = len(line.text) < _SHORT_LINE * longest
        ends = not following or (is_short and not following[0].islower())
        line.ends_paragraph = ends and not line.is_joined


def _seen(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c for c in text if c.isspace() or _is_seen(c))


def _is_seen(letter: str) -> bool:
    return unicodedata.category(letter) not in _UNSEEN
