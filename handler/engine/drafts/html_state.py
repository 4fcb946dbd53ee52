"""Incremental parser for the HTML that a model writes for one page."""

from __future__ import annotations

import copy
import html
import re

from handler.engine.drafts.text_layer import normalise_text

__all__ = ["BOXES_IN_BRACKETS", "BOXES_OF_NUMBERS", "INLINE", "NO_BOXES", "HTMLState"]

BOXES_IN_BRACKETS = '<div data-bbox="['
BOXES_OF_NUMBERS = '<div data-bbox="'
NO_BOXES = ""
"""Start of each block, up to the first character that differs between blocks."""

INLINE = frozenset(
    (
        *("a", "b", "big", "code", "del", "i", "math", "small", "span"),
        *("strong", "sub", "sup", "u"),
    )
)
CONTAINERS = frozenset(("div", "ol", "table", "tbody", "thead", "tr", "ul"))
"""Elements that contain other elements, but no text of their own."""
VOID = frozenset(("br", "hr", "img", "input"))
CELLS = frozenset(("td", "th"))

NUM_VISIBLE = 64
"""Visible characters at the end of the output that are kept for comparison."""
_MAX_TAG = 4096
_MAX_ENTITY = 12
_MAX_GAP = 8
_MAX_DEPTH = 32

_SEPARATORS = re.compile("([<>&;])")
_NAME = re.compile("</?([a-zA-Z][a-zA-Z0-9]*)")
_LABEL = re.compile('data-label="([^"]*)"')
_BOX = re.compile('data-bbox="[^"\\]]*$')


class HTMLState:
    """Parser state after the HTML written so far: open elements and visible text.

    `block_start` is the start of each block, one of the constants of this module. The
    parser never fails: anything that is not markup counts as text.
    """

    def __init__(self, block_start: str = BOXES_IN_BRACKETS) -> None:
        self.block_start = block_start
        self.gap = ""
        """White space between one block and the next."""
        self.tag: str | None = None
        """Unfinished tag, from its `<` on; None outside of tags."""
        self.open: list[str] = []
        """Names of the open elements, the innermost last."""
        self.is_closed = False
        """True if the last tag was an end tag."""
        self.visible = ""
        """Last visible characters, normalised for comparison."""
        self.num_visible = 0
        """Number of visible characters, normalised for comparison."""
        self.follows_space = True
        """True after white space, and where a new word begins after a tag."""
        self.begins_text = False
        """True if text would be the first of a paragraph, a heading or a cell."""
        self.label = "Text"
        self.first_tags: dict[str, str] = {}
        """First tags of the last block of each label."""
        self.next_labels: dict[str, str] = {}
        """Label of the block after the last block of each label."""
        self.num_blocks = 0
        self.inline = "b"
        """Name of the last inline element."""
        self.cell_tags = ""
        """Inline start tag at the beginning of the last cell of this row."""
        self._takes_text = False
        self._entity: str | None = None
        self._tags: str | None = None
        self._num_words = 0
        self._has_number = False
        # Number of words of each cell, and whether it contains a digit.
        self._row: list[tuple[int, bool]] = []
        self._last_row: list[tuple[int, bool]] = []

    def copy(self) -> HTMLState:
        """Return a copy for speculative drafting."""
        twin = copy.copy(self)
        twin.open = list(self.open)
        twin.first_tags = dict(self.first_tags)
        twin.next_labels = dict(self.next_labels)
        twin._row = list(self._row)
        return twin

    @property
    def expects_text(self) -> bool:
        """True if text comes next; False if a tag does, or if a tag is unfinished."""
        return self._takes_text and self.tag is None

    @property
    def is_in_entity(self) -> bool:
        """True if a character reference is unfinished, such as `&am`."""
        return self._entity is not None

    @property
    def is_item(self) -> bool:
        """True if the innermost block element is a list item."""
        return next((n == "li" for n in reversed(self.open) if n not in INLINE), False)

    @property
    def is_in_box(self) -> bool:
        """True if the numbers of a bounding box are being written."""
        return self.tag is not None and _BOX.search(self.tag) is not None

    @property
    def is_row_full(self) -> bool:
        """True if this table row has as many cells as the row above.

        An open cell counts.
        """
        num_open = not CELLS.isdisjoint(self.open)
        return len(self._row) + num_open == len(self._last_row)

    @property
    def num_words_left(self) -> int | None:
        """Words missing until this cell has as many as the cell above.

        None outside of cells, in the first row, and if the cell has more words.
        """
        column = len(self._row)
        if CELLS.isdisjoint(self.open) or column >= len(self._last_row):
            return None
        num_left = self._last_row[column][0] - self._num_words
        return num_left if num_left >= 0 else None

    @property
    def ends_before_number(self) -> bool:
        """True if the cell above has words only, and the one to its right a number.

        False if this cell contains a digit already.
        """
        if CELLS.isdisjoint(self.open) or self._has_number:
            return False
        column = len(self._row)
        return [has for _, has in self._last_row[column : column + 2]] == [False, True]

    def feed(self, text: str) -> None:
        """Parse the next part of the HTML. It may end anywhere, even within a tag."""
        for part in _SEPARATORS.split(text):
            if not part:
                continue
            if self.tag == "<" and not (part[0].isalpha() or part[0] in "/!"):
                self.tag = None
                self._write("<")
            if self.tag is not None:
                self._continue_tag(self.tag, part)
            elif part == "<":
                self._finish_entity()
                self.tag = part
            elif part == "&":
                self._finish_entity()
                self._entity = part
            elif self._entity is not None:
                self._continue_entity(self._entity + part, part)
            else:
                self._write(part)

    def _continue_tag(self, tag: str, part: str) -> None:
        if part == ">":
            self.tag = None
            self._finish_tag(tag)
        else:
            self.tag = (tag + part)[:_MAX_TAG]

    def _continue_entity(self, entity: str, part: str) -> None:
        self._entity = entity
        if part == ";":
            self._entity = None
            self._write(html.unescape(entity))
        elif len(entity) > _MAX_ENTITY or not part.strip("#").isalnum():
            self._finish_entity()

    def _finish_entity(self) -> None:
        """Treat an unfinished character reference as text that starts with `&`."""
        if self._entity is not None:
            text, self._entity = self._entity, None
            self._write(text)

    def _write(self, text: str) -> None:
        """Add visible text, which is not empty, to the state."""
        continues_word = not (self.follows_space or text[0].isspace())
        self._num_words += len(text.split()) - continues_word
        self._has_number = self._has_number or any(map(str.isdigit, text))
        self.follows_space = text[-1].isspace()
        if not self.open and text.isspace():
            self.gap = text[:_MAX_GAP]
        if keys := normalise_text(text):
            if self._tags is not None:
                self.first_tags[self.label] = self._tags
                self._tags = None
            self.visible = (self.visible + keys)[-NUM_VISIBLE:]
            self.num_visible += len(keys)
            self._takes_text = True
            self.begins_text = False

    def _finish_tag(self, tag: str) -> None:
        """Apply a complete tag, without its `>`; ignore comments and declarations."""
        match = _NAME.match(tag)
        if match is None:
            return
        name = match[1].lower()
        is_inline = name in INLINE
        if not is_inline:
            self.follows_space = True
        self.is_closed = tag[1] == "/"
        if self.is_closed:
            self._takes_text = is_inline
            self.begins_text = False
            self._close(name)
        elif name in VOID:
            self._takes_text = name in ("br", "input")
        else:
            self._open(name, tag)
            self._takes_text = name not in CONTAINERS
            if not is_inline:
                self.begins_text = self._takes_text

    def _open(self, name: str, tag: str) -> None:
        """Apply the start tag of an element that has content."""
        if len(self.open) < _MAX_DEPTH:
            self.open.append(name)
        if self._tags is not None:
            self._tags = (self._tags + f"{tag}>")[:_MAX_TAG]
        if name == "div":
            if (label := _LABEL.search(tag)) is not None:
                if self.num_blocks:
                    self.next_labels[self.label] = label[1]
                self.label = label[1]
                self.num_blocks += 1
            self._tags = ""
        elif name == "table":
            self._row = []
            self._last_row = []
        elif name == "tr":
            self.cell_tags = ""
        elif name in CELLS:
            self._num_words = 0
            self._has_number = False
            self.cell_tags = ""
        elif name in INLINE:
            self.inline = name
            if self.begins_text and not CELLS.isdisjoint(self.open[-2:-1]):
                self.cell_tags = f"{tag}>"

    def _close(self, name: str) -> None:
        """Apply the end tag of an element; it also closes the elements within."""
        self._tags = None
        if name in self.open:
            while self.open.pop() != name:
                pass
        if name in CELLS:
            self._row.append((self._num_words, self._has_number))
        elif name == "tr":
            self._last_row, self._row = self._row, []
        if not self.open:
            self.gap = ""
