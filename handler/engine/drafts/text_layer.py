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
_SURE = 8
"""Characters that must be the same after a jump until it counts."""
_NEAR = 400
_MAX_LINES = 500
"""Of so many it is looked at how they begin; a page of small print has 200."""
_SHORT_LINE = 0.8
"""A line this much shorter than its neighbours ends a paragraph."""

# pdfium's signs for a hyphen at a line's end; which one depends on the call.
_LINE_END_HYPHENS = re.compile("[\x02\ufffe]\n?|[-\u2010\u00ad][ \t]*\n")
_LINE_ENDS = re.compile("\r\n?|[\n\x0b\x0c\x85\u2028\u2029]")
# Drawn for the eye, and as long as the line has room: models write them as they like.
_LEADERS = re.compile(r"(?:[.\u2026\u00b7][ \t]*){4,}|_{4,}")
# What a list's items begin with, where the list does not say it.
_MARKER = re.compile(r"(?:[^\w\s]|\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)])(?= )")
_LEADER_ENDS = ("..", "__")
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
        self._num_strayed = 0
        """Characters since the output left the layer's order."""

    def rewind(self) -> None:
        """The output starts over."""
        self._is_read = bytearray(len(self._starts))
        self.place = 0
        self.is_found = True
        self._num_strayed = 0

    def follow(self, visible: str, num_new: int) -> None:
        """Go to the place that ends with `visible`.

        That is the end of the output in comparable characters, `num_new` of them
        not shown before.
        """
        if num_new == 0:
            return
        place, strayed = self.place, self._num_strayed
        if (
            self.is_found
            and num_new <= len(visible)
            and self._keys.startswith(visible[-num_new:], place)
        ):
            if strayed:
                self._jump(place - strayed, place + num_new)
            else:
                self._advance(place, place + num_new)
            return
        if visible.endswith(_LEADER_ENDS):
            # Not in the layer any more: it goes on behind them.
            return
        visible = _LEADERS.sub("", visible)
        if self.is_found and not strayed:
            num_right = _num_alike(
                visible[-num_new:], self._keys[place : place + num_new]
            )
            self.place += num_right
            num_new -= num_right
        self._num_strayed = strayed + num_new
        self.is_found = self._find_again(visible)

    def _find_again(self, visible: str) -> bool:
        strayed = visible[-self._num_strayed :] if self._num_strayed else ""
        for length in MATCH_LENGTHS:
            if length == _TELLING and 0 < len(strayed) < _TELLING:
                place = self._begun(strayed)
                if place is not None:
                    self._jump(place, place + len(strayed))
                    return True
            place = self._find(visible[-length:]) if len(visible) >= length else None
            if place is not None:
                self._advance(place, place + length)
                return True
        return False

    def _jump(self, begin: int, end: int) -> None:
        """Go there for now; it counts when enough has turned out to be the same."""
        if end - begin < _SURE:
            self.place = end
            self._num_strayed = end - begin
        else:
            self._advance(begin, end)

    def begin_block(self, *, is_item: bool = False) -> None:
        """Go where a new block most likely begins, until it turns out otherwise."""
        self.place = self.next_block(self.place, is_item=is_item)
        self.is_found = True
        self._num_strayed = 0

    def next_block(self, place: int, *, is_item: bool = False) -> int:
        """Where a new paragraph, heading, cell or item most likely begins.

        An item does behind its bullet or number, which HTML has no text for.
        """
        line = bisect_left(self._starts, place)
        is_within_line = self._starts[line : line + 1] != [place]
        if not is_within_line or place == len(self._keys):
            unread = self._is_read.find(0, line)
            if unread < 0:
                unread = self._is_read.find(0)
            place = self._starts[unread] if unread >= 0 else place
        if is_item and place < len(self._places):
            marker = _MARKER.match(self._text, self._places[place])
            return place + len(marker[0]) if marker else place
        return place

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

    def _begun(self, tail: str) -> int | None:
        """Where a line begins that way, or else a word: the next one, unread if any.

        For the first words after the output left the layer's order, which are not
        many enough to be found anywhere.
        """
        line = bisect_left(self._starts, self.place)
        lines: list[int] = [*range(line, min(line + _MAX_LINES, len(self._starts)))]
        lines += range(min(line, _MAX_LINES - len(lines)))
        begun = [i for i in lines if self._keys.startswith(tail, self._starts[i])]
        unread = [i for i in begun if not self._is_read[i]]
        if unread:
            return self._starts[unread[0]]
        place = self._keys.find(tail, self.place, self.place + _NEAR)
        while place >= 0:
            first = self._places[place]
            if not first or self._text[first - 1] == " ":
                return place
            place = self._keys.find(tail, place + 1, self.place + _NEAR)
        return self._starts[begun[0]] if begun else None

    def _advance(self, begin: int, end: int) -> None:
        first = max(0, bisect_right(self._starts, begin) - 1)
        last = bisect_left(self._starts, end)
        self._is_read[first:last] = b"\1" * (last - first)
        self.place = end
        self.is_found = True
        self._num_strayed = 0


def comparable(text: str) -> str:
    """Text as it is compared: no white space, nothing unseen, plain punctuation."""
    text = text.translate(_LETTERS).translate(_LOOKALIKES)
    if text.isascii() and text.isprintable():
        return text.replace(" ", "")
    return "".join(c for c in text if not c.isspace() and _is_seen(c))


def _num_alike(a: str, b: str) -> int:
    """Characters up to the first that differs."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


@dataclass(slots=True)
class _Line:
    text: str
    is_joined: bool = False
    """To the next one, without a space between."""
    ends_paragraph: bool = False


def _lines(layer: str) -> list[_Line]:
    layer = _LINE_ENDS.sub("\n", layer)
    layer = _LINE_END_HYPHENS.sub("-\n", layer)
    layer = _LEADERS.sub(" ", layer)
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
