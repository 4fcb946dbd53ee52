"""Tolerant HTML parser that returns a tree for any input.

`parse` never raises, takes time linear in its input, and loses no readable text. Text
that cannot be a tag stays text, open elements are closed, and a tag that is cut off at
the end is dropped. Chandra's pages add one rule to HTML: a `<div>` with a label or a
box begins a new block even if the block before it was never closed, unless it is inside
a Complex-Block.

The tree is not safe to show; `sanitise` is responsible for that.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from handler.postprocess.html.tokens import Tokeniser, decode_references
from handler.postprocess.html.vocabulary import (
    BLOCK_TAGS,
    KEPT_TAGS,
    REWRITTEN_TAGS,
    VOID_TAGS,
)

__all__ = ["MAX_DEPTH", "Element", "Node", "Tree", "parse", "serialise", "text_of"]

MAX_DEPTH = 40
"""Maximum depth of a tree. Elements nested deeper are replaced by their content,
because functions on the tree are recursive."""


@dataclass(slots=True)
class Element:
    """HTML element: tag, attributes and children."""

    tag: str
    attrs: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)


Node: TypeAlias = Element | str


@dataclass(frozen=True, slots=True)
class Tree:
    """Parsed HTML: the nodes at its top level."""

    nodes: list[Node]
    num_flattened: int = 0
    """Number of elements replaced by their content, because they were too deep."""


def parse(
    source: str, max_depth: int = MAX_DEPTH, *, is_one_block: bool = False
) -> Tree:
    """Parse HTML, which may be malformed; no input raises an error.

    `is_one_block` is True for the content of one block: a labelled div inside it is
    nested and does not begin a new block.
    """
    builder = _TreeBuilder(max_depth, is_one_block)
    Tokeniser(source, builder).run()
    return Tree(builder.root.children, builder.num_flattened)


def serialise(nodes: Iterable[Node]) -> str:
    """Return a tree as well-formed HTML with escaped text and attributes."""
    parts: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            parts.append(html.escape(node, quote=False))
            continue
        attrs = "".join(f' {k}="{html.escape(v)}"' for k, v in node.attrs.items())
        parts.append(f"<{node.tag}{attrs}>")
        if node.tag not in VOID_TAGS:
            parts.append(serialise(node.children))
            parts.append(f"</{node.tag}>")
    return "".join(parts)


def text_of(nodes: Iterable[Node]) -> str:
    """Return the text of all nodes, with "\\n" for `<br>`."""
    return "".join(_iterate_texts(nodes))


def _iterate_texts(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif node.tag == "br":
            yield "\n"
        else:
            yield from _iterate_texts(node.children)


# Tags whose start closes an open element of the listed tags, because HTML allows their
# end tags to be omitted: `<li>one<li>two`.
_HEADINGS = tuple(f"h{level}" for level in range(1, 7))
_ENDS_PARAGRAPH = (
    *("blockquote", "div", "hr", "ol", "p", "pre", "table", "ul"),
    *_HEADINGS,
)
_ENDS_BEFORE = {
    "li": frozenset({"li"}),
    "td": frozenset({"td", "th"}),
    "th": frozenset({"td", "th"}),
    "tr": frozenset({"tr"}),
    "tbody": frozenset({"thead", "tbody", "caption"}),
    "thead": frozenset({"thead", "tbody", "caption"}),
    "option": frozenset({"option"}),
    "rt": frozenset({"rt", "rp"}),
    "rp": frozenset({"rt", "rp"}),
    **dict.fromkeys(_ENDS_PARAGRAPH, frozenset({"p"})),
}
_SCOPES = {
    "li": frozenset({"ul", "ol", "table", "td", "th"}),
    "td": frozenset({"table", "tr"}),
    "th": frozenset({"table", "tr"}),
    "tr": frozenset({"table"}),
    "tbody": frozenset({"table"}),
    "thead": frozenset({"table"}),
    "option": BLOCK_TAGS | {"select"},
    "rt": BLOCK_TAGS | {"ruby"},
    "rp": BLOCK_TAGS | {"ruby"},
    **dict.fromkeys(_ENDS_PARAGRAPH, BLOCK_TAGS - {"p"}),
}
# Elements beyond which an end tag closes nothing: `</b>` closes no table cell.
_TABLE_PARTS = frozenset({"tr", "td", "th", "tbody", "thead", "caption"})
_END_SCOPES = {
    **dict.fromkeys((KEPT_TAGS | REWRITTEN_TAGS) - BLOCK_TAGS, BLOCK_TAGS - {"p"}),
    **dict.fromkeys(_TABLE_PARTS, frozenset({"table"})),
    "li": frozenset({"ul", "ol", "table"}),
    "ul": frozenset({"td", "th", "table"}),
    "ol": frozenset({"td", "th", "table"}),
    "p": BLOCK_TAGS - {"p"},
}
_NO_TAGS: frozenset[str] = frozenset()


class _TreeBuilder:
    """Builder of the tree from the tokens that a `Tokeniser` sends."""

    def __init__(self, max_depth: int, is_one_block: bool) -> None:
        self.root = Element("")
        self._is_one_block = is_one_block
        self.num_flattened = 0
        self._max_depth = max_depth
        self._open = [self.root]
        # Number of open elements beyond the maximum depth, by tag.
        self._flattened: Counter[str] = Counter()
        self._text: list[str] = []

    def add_text(self, text: str) -> None:
        """Collect text until `flush`, which also decodes character references."""
        if text:
            self._text.append(text)

    def flush(self) -> None:
        """Add the collected text to the innermost open element, and forget it."""
        if not self._text:
            return
        text = decode_references("".join(self._text))
        self._text.clear()
        top = self._open[-1]
        if top.tag == "pre" and not top.children:
            text = text.removeprefix("\n")
        if text:
            top.children.append(text)

    def start_element(self, tag: str, attrs: dict[str, str]) -> None:
        self.flush()
        if tag == "div" and _is_labelled(attrs) and not self._nests_blocks():
            del self._open[1:]
            self._flattened.clear()
        first_ended = self._find_open_element(
            _ENDS_BEFORE.get(tag, _NO_TAGS), _SCOPES.get(tag, _NO_TAGS)
        )
        if first_ended is not None and not self._flattened:
            del self._open[first_ended:]
        element = Element(tag, attrs)
        if tag in VOID_TAGS:
            self._open[-1].children.append(element)
        elif len(self._open) > self._max_depth:
            self._flattened[tag] += 1
            self.num_flattened += 1
        else:
            self._open[-1].children.append(element)
            self._open.append(element)

    def end_element(self, tag: str) -> None:
        self.flush()
        if self._flattened:
            if self._flattened[tag]:
                self._flattened[tag] -= 1
                self._flattened += Counter()  # removes the zeros
                return
            if tag not in BLOCK_TAGS:
                return
        closed = self._find_open_element(
            frozenset({tag}), _END_SCOPES.get(tag, _NO_TAGS)
        )
        if closed is not None:
            del self._open[closed:]
            self._flattened.clear()

    def add_literal(self, tag: str, attrs: dict[str, str], content: str) -> None:
        """Add an element whose content is text without character references."""
        self.flush()
        children: list[Node] = [content] if content else []
        self._open[-1].children.append(Element(tag, attrs, children))

    def _nests_blocks(self) -> bool:
        if self._is_one_block or len(self._open) < 2:
            return self._is_one_block
        label = self._open[1].attrs.get("data-label", "")
        return re.sub(r"[\s_-]", "", label).lower() == "complexblock"

    def _find_open_element(
        self, tags: frozenset[str], scope: frozenset[str]
    ) -> int | None:
        """Return the index of the innermost open element with one of the tags.

        Return None if an open element of `scope` is reached first.
        """
        if not tags:
            return None
        for index in range(len(self._open) - 1, 0, -1):
            if self._open[index].tag in tags:
                return index
            if self._open[index].tag in scope:
                return None
        return None


def _is_labelled(attrs: dict[str, str]) -> bool:
    return "data-bbox" in attrs or "data-label" in attrs
