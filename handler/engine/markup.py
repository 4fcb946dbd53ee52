"""Follow a page's HTML as it is written, and guess the markup that comes next."""

from __future__ import annotations

import html
import re

from handler.engine.text_layer import comparable

__all__ = ["BOXES_IN_BRACKETS", "BOXES_OF_NUMBERS", "NO_BOXES", "Markup"]

BOXES_IN_BRACKETS = '<div data-bbox="['
BOXES_OF_NUMBERS = '<div data-bbox="'
NO_BOXES = ""
"""How a block begins, up to what differs from one to the next."""

NUM_VISIBLE = 64
"""Characters of the output's end that are kept for comparison."""
_MAX_TAG = 4096
_MAX_ENTITY = 12

_INLINE = frozenset(
    "a b big code del i math small span strong sub sup u".split()  # noqa: SIM905
)
_CONTAINERS = frozenset("div ol table tbody thead tr ul".split())  # noqa: SIM905
_VOID = frozenset(("br", "hr", "img", "input"))
_TEXT_AFTER = frozenset(("br", "input"))

_SEPARATORS = re.compile("([<>&;])")
_NAME = re.compile("</?([a-zA-Z][a-zA-Z0-9]*)")
_LABEL = re.compile('data-label="([^"]*)"')
_BOX = re.compile(r'<div data-bbox="(?:\[([\d, ]*)|([\d ]*))(.*)', re.DOTALL)
_COMMON_LABELS = ("Text", "Section-Header", "Table", "List-Group", "Page-Header")
_COMMON_LABELS += ("Page-Footer", "Caption", "Footnote", "Image", "Figure", "Form")
_COMMON_LABELS += ("Equation-Block", "Code-Block", "Table-Of-Contents")
_COMMON_LABELS += ("Complex-Block",)
_FIRST_TAGS = {
    "Equation-Block": '<math display="block">',
    "Figure": '<img alt="',
    "Image": '<img alt="',
    "List-Group": "<ul><li>",
    "Section-Header": "<h",
    "Table": "<table>",
}


class Markup:
    """Where in its HTML a page is, and what of it a reader sees."""

    def __init__(self, block_start: str = BOXES_IN_BRACKETS) -> None:
        self._block_start = block_start
        self._between_blocks = ""
        self.tag: str | None = None
        """What is written of a tag that is not closed yet, from its < on."""
        self.open: list[str] = []
        """Names of the elements that are open, the innermost last."""
        self.visible = ""
        """The last visible characters, comparable."""
        self.num_visible = 0
        self.expects_text = False
        """Whether text comes next, or goes on, rather than a tag."""
        self.begins_text = False
        """Whether it would be the first of a paragraph, a heading or a cell."""
        self.follows_space = True
        self._entity: str | None = None
        self._closed = False
        self._label = "Text"
        self._num_cells = 0
        self._num_columns = 0

    @property
    def is_in_entity(self) -> bool:
        return self._entity is not None

    @property
    def is_in_box(self) -> bool:
        """Whether the numbers of a box are being written."""
        match = _BOX.match(self.tag) if self.tag is not None else None
        return match is not None and not match[3]

    def feed(self, text: str) -> None:
        """Take note of what was written."""
        for part in _SEPARATORS.split(text):
            if not part:
                continue
            if self.tag == "<" and not (part[0].isalpha() or part[0] in "/!"):
                self.tag = None
                self._write("<")
            if self.tag is not None:
                self._continue_tag(part)
            elif part == "<":
                self._end_entity()
                self.tag = part
            elif part == "&":
                self._end_entity()
                self._entity = part
            elif self._entity is not None:
                self._continue_entity(part)
            else:
                self._write(part)

    def following(self) -> str:
        """The markup that most likely comes next, where it is no text."""
        if self.tag is not None:
            return self._rest_of_tag(self.tag)
        return self._after(self.open, self._closed)

    def closing(self) -> str:
        """The markup that most likely comes at the end of a paragraph."""
        if not self.open:
            return ""
        still_open = list(self.open)
        closed = []
        while still_open:
            name = still_open.pop()
            closed.append(f"</{name}>")
            if name not in _INLINE:
                break
        return "".join(closed) + self._after(still_open, True, closed[-1][2:-1])

    def _continue_tag(self, part: str) -> None:
        tag = self.tag or ""
        if part == ">":
            self.tag = None
            self._end_tag(tag)
        else:
            self.tag = (tag + part)[:_MAX_TAG]

    def _continue_entity(self, part: str) -> None:
        self._entity = (self._entity or "") + part
        if part == ";":
            entity, self._entity = self._entity, None
            self._write(html.unescape(entity))
        elif len(self._entity) > _MAX_ENTITY or not part.strip("#").isalnum():
            self._end_entity()

    def _end_entity(self) -> None:
        """It was none: an ampersand in the text."""
        if self._entity is not None:
            text, self._entity = self._entity, None
            self._write(text)

    def _write(self, text: str) -> None:
        self.follows_space = text[-1].isspace()
        if not self.open and text.isspace():
            self._between_blocks = text[:_MAX_ENTITY]
        keys = comparable(text)
        if keys:
            self.visible = (self.visible + keys)[-NUM_VISIBLE:]
            self.num_visible += len(keys)
            self.expects_text = True
            self.begins_text = False

    def _end_tag(self, tag: str) -> None:
        match = _NAME.match(tag)
        if match is None:
            return
        name = match[1].lower()
        is_inline = name in _INLINE
        if not is_inline:
            self.follows_space = True
        self._closed = tag[1] == "/"
        if self._closed:
            self.expects_text = is_inline
            self.begins_text = False
            self._close(name)
        elif name in _VOID:
            self.expects_text = name in _TEXT_AFTER
        else:
            self._open(name, tag)
            self.expects_text = name not in _CONTAINERS
            self.begins_text = self.expects_text and not is_inline

    def _open(self, name: str, tag: str) -> None:
        self.open.append(name)
        if name == "div":
            label = _LABEL.search(tag)
            self._label = label[1] if label else self._label
        elif name == "table":
            self._num_columns = 0
        elif name == "tr":
            self._num_cells = 0
        elif name in ("td", "th"):
            self._num_cells += 1

    def _close(self, name: str) -> None:
        if name in self.open:
            while self.open.pop() != name:
                pass
        if name == "tr":
            self._num_columns = self._num_cells
        if not self.open:
            self._between_blocks = ""

    def _after(self, opened: list[str], closed: bool, last: str = "") -> str:
        """What follows where these are open, and one was just opened or `closed`."""
        if not opened:
            # Nothing is between the first block and what is before it.
            return (self._between_blocks if closed else "") + self._block_start
        name = opened[-1]
        if name == "div":
            if closed:
                return "</div>" + self._after(opened[:-1], True)
            return _FIRST_TAGS.get(self._label, "<p>")
        if name in ("ul", "ol"):
            return "<li>"
        if name == "tr":
            is_full = closed and self._num_cells == self._num_columns
            return "</tr><tr><td>" if is_full else "<td>"
        if name in ("table", "tbody"):
            return "<tr><td>"
        if name == "thead":
            return "</thead><tbody><tr><td>" if closed else "<tr><th>"
        return ""

    def _rest_of_tag(self, tag: str) -> str:
        if "</".startswith(tag[:2]) and self.open:
            closing = f"</{self.open[-1]}>"
            if tag != "<" and closing.startswith(tag):
                rest = self._after(self.open[:-1], True)
                return closing[len(tag) :] + rest
        match = _BOX.match(tag)
        if match is not None:
            return self._rest_of_box(match)
        if self._block_start.startswith(tag) and len(tag) > 1:
            return self._block_start[len(tag) :]
        return ""

    def _rest_of_box(self, match: re.Match[str]) -> str:
        is_in_brackets = match[1] is not None
        numbers = match[1] if is_in_brackets else match[2]
        rest = match[3]
        end = ('"' if not is_in_brackets else ']"') + ' data-label="'
        if not rest:
            separator = ", " if is_in_brackets else " "
            if numbers.endswith(","):
                return " "
            # Most numbers have three digits, and none that follows can be guessed.
            if len(numbers) < 3 or not numbers[-3:].isdigit():
                return ""
            return separator if numbers.count(" ") < 3 else end
        if end.startswith(rest):
            return end[len(rest) :]
        if rest.startswith(end):
            begun = rest[len(end) :]
            if begun.endswith('"'):
                return ">" + _FIRST_TAGS.get(begun[:-1], "<p>")
            for label in (self._label, *_COMMON_LABELS):
                if label.startswith(begun):
                    return f'{label[len(begun) :]}">' + _FIRST_TAGS.get(label, "<p>")
        return ""
