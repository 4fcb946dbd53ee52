"""Tokeniser that separates the tags and text of HTML, which may be malformed.

Text that cannot be a tag stays text, and a tag cut off at the end is dropped. All
patterns are bounded or possessive, so that every input takes linear time.
"""

from __future__ import annotations

import html
import re
from typing import Protocol

from handler.postprocess.html.vocabulary import (
    DROPPED_TAGS,
    JOINING_TAGS,
    KEPT_TAGS,
    KNOWN_TAGS,
    LITERAL_TAGS,
    RENAMED_TAGS,
    REWRITTEN_TAGS,
)

__all__ = ["TokenReceiver", "Tokeniser", "decode_references"]


class TokenReceiver(Protocol):
    """Receiver of a page's tags and text, in order.

    Tags outside `KEPT_TAGS` and `REWRITTEN_TAGS` are not sent.
    """

    def add_text(self, text: str) -> None:
        """Handle text whose character references are not decoded yet."""

    def start_element(self, tag: str, attrs: dict[str, str]) -> None: ...

    def end_element(self, tag: str) -> None: ...

    def add_literal(self, tag: str, attrs: dict[str, str], content: str) -> None:
        """Handle an element whose content is text without character references."""

    def flush(self) -> None:
        """Handle the end of the input."""


# A quoted value may contain a few `<`, as in `alt="CO<sub>2</sub>"`, but no block.
_NAME = r"[a-zA-Z][a-zA-Z0-9-]*+"
_VALUE = "|".join(rf"{q}[^{q}<]*+(?:<(?!/?div\b)[^{q}<]*+){{0,8}}+{q}" for q in "\"'")
_TAG = re.compile(
    rf"<(?P<close>/?)(?P<name>{_NAME})(?=[\s/>])"
    rf"(?P<attrs>(?:[^<>=]++|=\s*+(?:{_VALUE})|=){{0,48}}+)>"
)
_ATTRIBUTE = re.compile(
    r"([a-zA-Z_][\w:.-]*+)(?:\s*+=\s*+(\"[^\"]*+\"?|'[^']*+'?|[^\s\"'>]++))?"
)
_DECLARATION = re.compile(r"<[!?][^<>]*+>")
_CUT_TAG = re.compile(rf"<(?:[!?][^<>]*+|/?(?P<name>{_NAME})?(?P<attrs>[^<>]*+))\Z")
_DROPPED_END = {
    tag: re.compile(rf"</{tag}\b[^<>]*+>?", re.IGNORECASE) for tag in DROPPED_TAGS
}
_BLOCK_EDGE = re.compile(r"</?div\b", re.IGNORECASE)
_LITERAL_END = {
    tag: re.compile(
        rf"(?P<end></{tag}\s*+>)|<{tag}(?=[\s>])|</?div(?=[\s>])", re.IGNORECASE
    )
    for tag in LITERAL_TAGS
}
_LITERAL_EDGE = re.compile(
    r"</?(?:div|p|table|thead|tbody|tr|td|th|ul|ol|li|h[1-6]|br)\s*+/?>", re.IGNORECASE
)


class Tokeniser:
    """Tokeniser of HTML. `run` sends the tags and text to the receiver, in order."""

    def __init__(self, source: str, receiver: TokenReceiver) -> None:
        self._source = source
        self._receiver = receiver
        # Tags and comments whose end was not found in the rest of the source.
        self._unclosed: set[str] = set()

    def run(self) -> None:
        source, position = self._source, 0
        while (start := source.find("<", position)) >= 0:
            self._receiver.add_text(source[position:start])
            position = self._read_markup(start)
        self._receiver.add_text(source[position:])
        self._receiver.flush()

    def _read_markup(self, start: int) -> int:
        """Handle the tag, comment or text at the `<`; return the index after it."""
        source = self._source
        if source.startswith("<!--", start):
            return self._skip_comment(start)
        match = _TAG.match(source, start)
        if match is not None and match["name"].lower() in KNOWN_TAGS:
            return self._read_tag(match)
        if match is None and (declaration := _DECLARATION.match(source, start)):
            return declaration.end()
        if match is None and (cut := _CUT_TAG.match(source, start)):
            return self._read_cut_tag(cut)
        self._receiver.add_text("<")
        return start + 1

    def _skip_comment(self, start: int) -> int:
        end = -1 if "comment" in self._unclosed else self._source.find("-->", start)
        if end >= 0:
            return end + 3
        self._unclosed.add("comment")
        return start + 4

    def _read_tag(self, match: re.Match[str]) -> int:
        tag = match["name"].lower()
        tag = RENAMED_TAGS.get(tag, tag)
        if tag in DROPPED_TAGS:
            is_empty = match["close"] or match["attrs"].endswith("/")
            return match.end() if is_empty else self._skip_dropped(tag, match.end())
        if tag not in KEPT_TAGS and tag not in REWRITTEN_TAGS:
            # The space keeps the words on both sides of `<optgroup>` apart.
            self._receiver.add_text("" if tag in JOINING_TAGS else " ")
        elif match["close"]:
            self._receiver.end_element(tag)
        elif tag in LITERAL_TAGS:
            return self._read_literal(tag, match)
        else:
            self._receiver.start_element(tag, _parse_attributes(match["attrs"]))
        return match.end()

    def _skip_dropped(self, tag: str, position: int) -> int:
        """Return the index after the content of a dropped tag.

        The content of an unclosed tag ends with its block.
        """
        if tag not in self._unclosed:
            if end := _DROPPED_END[tag].search(self._source, position):
                return end.end()
            self._unclosed.add(tag)
        edge = _BLOCK_EDGE.search(self._source, position)
        return edge.start() if edge else len(self._source)

    def _read_literal(self, tag: str, match: re.Match[str]) -> int:
        position = match.end()
        if match["attrs"].endswith("/"):
            return position
        end = _LITERAL_END[tag].search(self._source, position)
        if end is not None and end["end"]:
            stop, resume = end.start(), end.end()
        else:
            limit = end.start() if end else len(self._source)
            edge = _LITERAL_EDGE.search(self._source, position, limit)
            stop = resume = edge.start() if edge else limit
        content = self._source[position:stop]
        if stop == len(self._source):
            content = _CUT_END_TAG.sub("", content)
        self._receiver.add_literal(
            tag, _parse_attributes(match["attrs"]), _decode_literal(content)
        )
        return resume

    def _read_cut_tag(self, cut: re.Match[str]) -> int:
        """Handle a tag in which the input ends, and return the index after it.

        An image is sent, text that cannot be a tag stays text, and others are dropped.
        """
        name, attrs = (cut["name"] or "").lower(), cut["attrs"] or ""
        if name == "img" and attrs:
            self._receiver.start_element("img", _parse_attributes(attrs))
        elif name and not _may_be_cut_tag(name, attrs):
            self._receiver.add_text("<")
            return cut.start() + 1
        return len(self._source)


def _may_be_cut_tag(name: str, attrs: str) -> bool:
    if not attrs:
        return any(known.startswith(name) for known in KNOWN_TAGS)
    return name in KNOWN_TAGS and _CUT_ATTRIBUTES.fullmatch(attrs) is not None


_CUT_ATTRIBUTES = re.compile(
    r"(?:\s++[\w-]++=(?:\"[^\"]*+\"|'[^']*+'|[^\s\"']++(?=\s)))*+"
    r"(?:\s++(?:[\w-]++(?:=(?:\"[^\"]*+|'[^']*+|[^\s\"']*+))?)?)?/?"
)
_CUT_END_TAG = re.compile(r"<(?:/[a-z]*+)?\Z")
_LONG_NUMERIC_REFERENCE = re.compile(r"&#[0-9]{8,}+;?")
_REFERENCE = re.compile(
    r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]*+);"
)


def _parse_attributes(source: str) -> dict[str, str]:
    attrs: dict[str, str] = {}
    for name, value in _ATTRIBUTE.findall(source):
        if value[:1] in ("'", '"'):
            value = value[1:].removesuffix(value[0])
        attrs.setdefault(name.lower(), decode_references(value))
    return attrs


def decode_references(text: str) -> str:
    """Return text with its character references decoded.

    References to numbers of eight and more digits become U+FFFD.
    """
    # html.unescape raises on numbers of more than 4,300 digits.
    return (
        html.unescape(_LONG_NUMERIC_REFERENCE.sub("\ufffd", text))
        if "&" in text
        else text
    )


def _decode_literal(source: str) -> str:
    """Decode character references that end with `;`, as LaTeX has other `&`."""
    return _REFERENCE.sub(lambda match: html.unescape(match[0]), source)
