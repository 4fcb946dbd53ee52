"""Text layer of a PDF page, as a source of draft text. Strings only.

White space is ignored when the output is compared with the layer, because PDF viewers
and models put it in different places. Draft text has the layer's own white space.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["LayerText", "TextLayer", "normalise_text"]

MAX_CHARACTERS = 100_000
"""Maximum characters of a layer that are used; a page of small print has 20,000."""
MATCH_LENGTHS = (24, 16, 10, 6)
"""Characters of the output's end that are searched in the layer, the longest first."""
_RELIABLE_LENGTH = 16
"""Shorter matches count only near the last one, or if they occur once in the layer."""
_CONFIRMED_LENGTH = 8
"""Characters that must match after a jump before the jump is final."""
_NEAR = 400
"""Distance in characters up to which a match is near the last one."""
_MAX_LINES = 500
"""Maximum lines whose first characters are compared; a page of small print has 200."""
_SHORT_LINE = 0.8
"""A line ends a paragraph if it is shorter than this share of its longer neighbour."""

# pdfium's characters for a hyphen at the end of a line. They differ between its calls.
_LINE_END_HYPHENS = re.compile("[\x02\ufffe]\n?|[-\u2010\u00ad][ \t]*\n")
_LINE_ENDS = re.compile("\r\n?|[\n\x0b\x0c\x85\u2028\u2029]")
# Leaders (dots or underscores) fill the rest of a line. A model writes any number.
_LEADERS = re.compile(r"(?:[.\u2026\u00b7][ \t]*){4,}|_{4,}")
# Bullet or number of a list item. HTML has no text for it.
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
_INVISIBLE_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn")


@dataclass(frozen=True, slots=True)
class LayerText:
    """Piece of the text layer after some position."""

    text: str
    ends_paragraph: bool
    ends_word: bool


class TextLayer:
    """Text layer of a page, aligned with the output.

    A position is an index into the layer's normalised characters (see
    `normalise_text`). `position` is that of the output's end, where the draft text
    begins. `is_aligned` is False if the output's end is not found in the layer.
    """

    def __init__(self, layer: str) -> None:
        lines = _split_lines(layer[:MAX_CHARACTERS])
        text: list[str] = []
        keys: list[str] = []
        self._line_starts: list[int] = []
        self._paragraph_ends: list[int] = []
        num_keys = 0
        for line in lines:
            line_keys = normalise_text(line.text)
            if not line_keys:
                continue
            self._line_starts.append(num_keys)
            num_keys += len(line_keys)
            keys.append(line_keys)
            text += (line.text, "" if line.is_joined else " ")
            if line.ends_paragraph:
                self._paragraph_ends.append(num_keys)
        if num_keys and self._paragraph_ends[-1:] != [num_keys]:
            self._paragraph_ends.append(num_keys)
        self._text = "".join(text)
        self._keys = "".join(keys)
        """Normalised characters, which are compared with the output."""
        indices = (i for i, letter in enumerate(self._text) if letter != " ")
        self._indices = array("I", indices)
        """Index in `_text` of each character in `_keys`."""
        self._is_read = bytearray(len(self._line_starts))
        self.position = 0
        self.is_aligned = True
        self._num_unmatched = 0
        """Output characters since the output left the order of the layer."""

    def reset(self) -> None:
        """Return to the start of the layer, because the output begins again."""
        self._is_read = bytearray(len(self._line_starts))
        self.position = 0
        self.is_aligned = True
        self._num_unmatched = 0

    def align(self, visible: str, num_new: int) -> None:
        """Move to the position where the layer's text equals the end of the output.

        `visible` is the end of the output in normalised characters; the last `num_new`
        of them are new since the last call.
        """
        if num_new == 0:
            return
        position, unmatched = self.position, self._num_unmatched
        if (
            self.is_aligned
            and num_new <= len(visible)
            and self._keys.startswith(visible[-num_new:], position)
        ):
            if unmatched:
                self._jump(position - unmatched, position + num_new)
            else:
                self._advance(position, position + num_new)
            return
        if visible.endswith(_LEADER_ENDS):
            # The layer has no leaders any more; the text after them may match again.
            return
        visible = _LEADERS.sub("", visible)
        if self.is_aligned and not unmatched:
            num_matched = _count_equal(
                visible[-num_new:], self._keys[position : position + num_new]
            )
            self.position += num_matched
            num_new -= num_matched
        self._num_unmatched = unmatched + num_new
        self.is_aligned = self._realign(visible)

    def _realign(self, visible: str) -> bool:
        """Search the end of the output in the layer, and move there.

        Returns False and does not move if it is not found.
        """
        unmatched = visible[-self._num_unmatched :] if self._num_unmatched else ""
        for length in MATCH_LENGTHS:
            # Only the longest tail comes before the first words after a jump.
            if length == _RELIABLE_LENGTH and 0 < len(unmatched) < _RELIABLE_LENGTH:
                position = self._find_start(unmatched)
                if position is not None:
                    self._jump(position, position + len(unmatched))
                    return True
            position = (
                self._find_tail(visible[-length:]) if len(visible) >= length else None
            )
            if position is not None:
                self._advance(position, position + length)
                return True
        return False

    def _jump(self, begin: int, end: int) -> None:
        """Move to `end`. The jump is final once enough characters match."""
        if end - begin < _CONFIRMED_LENGTH:
            self.position = end
            self._num_unmatched = end - begin
        else:
            self._advance(begin, end)

    def start_block(self, *, is_item: bool = False) -> None:
        """Move to the most likely start of a new block. The next text may correct it.

        `is_item`: see `find_next_block`.
        """
        self.position = self.find_next_block(self.position, is_item=is_item)
        self.is_aligned = True
        self._num_unmatched = 0

    def find_next_block(self, position: int, *, is_item: bool = False) -> int:
        """Return the likely start of the next paragraph, heading, cell or list item.

        That is the next unread line, unless `position` is the start of a line. With
        `is_item`, it is the position after the bullet or number of a list item, for
        which HTML has no text.
        """
        line = bisect_left(self._line_starts, position)
        is_within_line = self._line_starts[line : line + 1] != [position]
        if not is_within_line or position == len(self._keys):
            unread = self._is_read.find(0, line)
            if unread < 0:
                unread = self._is_read.find(0)
            position = self._line_starts[unread] if unread >= 0 else position
        if is_item and position < len(self._indices):
            marker = _MARKER.match(self._text, self._indices[position])
            return position + len(marker[0]) if marker else position
        return position

    def read_text(
        self, position: int, num_characters: int, *, begins_text: bool = False
    ) -> LayerText:
        """Return whole words of the paragraph at a position.

        They have at most `num_characters`; a single longer word is cut. A position
        between two paragraphs belongs to the end of the first one, or to the second one
        if `begins_text`. At the end of a paragraph or of the layer the text is empty.
        """
        bisect = bisect_right if begins_text else bisect_left
        index = bisect(self._paragraph_ends, position)
        if (
            index == len(self._paragraph_ends)
            or position == self._paragraph_ends[index]
        ):
            return LayerText("", ends_paragraph=bool(position), ends_word=True)
        end = self._paragraph_ends[index]
        first = self._indices[position - 1] + 1 if position else 0
        text = self._text[first : self._indices[end - 1] + 1]
        if len(text) <= num_characters:
            return LayerText(text, ends_paragraph=True, ends_word=True)
        border = text.rfind(" ", 0, num_characters + 1)
        ends_word = border > 0
        text = text[: border if ends_word else num_characters]
        return LayerText(text, ends_paragraph=False, ends_word=ends_word)

    def _find_tail(self, tail: str) -> int | None:
        """Return where `tail` occurs in the layer, preferably near the last match."""
        length = len(tail)
        keys, last = self._keys, self.position
        position = keys.find(tail, max(0, last - length), last + _NEAR)
        if position < 0:
            position = keys.find(tail, last)
        if position < 0:
            position = keys.find(tail)
        if position < 0:
            return None
        is_near = abs(position - last) <= _NEAR
        is_unique = keys.rfind(tail) == keys.find(tail)
        if length < _RELIABLE_LENGTH and not is_near and not is_unique:
            return None
        return position

    def _find_start(self, text: str) -> int | None:
        """Return where a line begins with `text`, or else a nearby word.

        This finds the first words after the output left the layer's order, which are
        too few to be searched everywhere. Lines that follow come first, and unread ones
        before read ones.
        """
        line = bisect_left(self._line_starts, self.position)
        end = min(line + _MAX_LINES, len(self._line_starts))
        lines: list[int] = [*range(line, end)]
        lines += range(min(line, _MAX_LINES - len(lines)))
        matching = [
            i for i in lines if self._keys.startswith(text, self._line_starts[i])
        ]
        unread = [i for i in matching if not self._is_read[i]]
        if unread:
            return self._line_starts[unread[0]]
        position = self._keys.find(text, self.position, self.position + _NEAR)
        while position >= 0:
            first = self._indices[position]
            if not first or self._text[first - 1] == " ":
                return position
            position = self._keys.find(text, position + 1, self.position + _NEAR)
        return self._line_starts[matching[0]] if matching else None

    def _advance(self, begin: int, end: int) -> None:
        """Move to `end`, and mark the lines between `begin` and `end` as read."""
        first = max(0, bisect_right(self._line_starts, begin) - 1)
        last = bisect_left(self._line_starts, end)
        self._is_read[first:last] = b"\1" * (last - first)
        self.position = end
        self.is_aligned = True
        self._num_unmatched = 0


def normalise_text(text: str) -> str:
    """Return the characters of a text that are compared with other text.

    White space and invisible characters are removed, ligatures are split, and quotes,
    dashes and dots are replaced by ASCII ones.
    """
    text = text.translate(_LETTERS).translate(_LOOKALIKES)
    if text.isascii() and text.isprintable():
        return text.replace(" ", "")
    return "".join(c for c in text if not c.isspace() and _is_visible(c))


def _count_equal(a: str, b: str) -> int:
    """Return the length of the common prefix of two strings."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


@dataclass(slots=True)
class _Line:
    text: str
    is_joined: bool = False
    """True if the next line continues a word of this one."""
    ends_paragraph: bool = False


def _split_lines(layer: str) -> list[_Line]:
    """Split a layer into lines without leaders, and mark lines that end within a word.

    The hyphen of such a line is removed if a lower case letter follows.
    """
    layer = _LINE_ENDS.sub("\n", layer)
    layer = _LINE_END_HYPHENS.sub("-\n", layer)
    layer = _LEADERS.sub(" ", layer)
    layer = unicodedata.normalize("NFC", layer.translate(_LETTERS))
    lines = [
        _Line(" ".join(_remove_invisible(line).split())) for line in layer.split("\n")
    ]
    for line, following in pairwise(lines):
        word, hyphen, first = line.text[-2:-1], line.text[-1:], following.text[:1]
        if hyphen == "-" and word.isalnum() and first.isalnum():
            line.is_joined = True
            if first.islower():
                line.text = line.text[:-1]
    _mark_paragraph_ends(lines)
    return lines


def _mark_paragraph_ends(lines: list[_Line]) -> None:
    """Mark lines before an empty line, and short lines before a new sentence."""
    for i, line in enumerate(lines[:-1]):
        before, following = lines[max(0, i - 1)].text, lines[i + 1].text
        longest = max(len(before), len(following))
        is_short = len(line.text) < _SHORT_LINE * longest
        ends = not following or (is_short and not following[0].islower())
        line.ends_paragraph = ends and not line.is_joined


def _remove_invisible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c for c in text if c.isspace() or _is_visible(c))


def _is_visible(letter: str) -> bool:
    return unicodedata.category(letter) not in _INVISIBLE_CATEGORIES
