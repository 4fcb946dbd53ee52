"""Tell tags from text in HTML, however broken it is.

What cannot be a tag is text, and what was cut off at the end is dropped. Every
pattern is bounded or possessive, so that no text takes more than linear time.
"""

from __future__ import annotations

import html
import re
from typing import Protocol

from handler.postprocess.vocabulary import (
    DROPPED_TAGS,
    JOINING_TAGS,
    KEPT_TAGS,
    KNOWN_TAGS,
    LITERAL_TAGS,
    RENAMED_TAGS,
    REWRITTEN_TAGS,
)

__all__ = ["Listener", "Tokeniser", "decoded"]


class Listener(Protocol):
    """Receives the tags and text of a page; tags are kept or rewritten ones."""

    def text(self, text: str) -> None:
        """Characters as they were written, references included."""

    def start(self, tag: str, attrs: dict[str, str]) -> None: ...

    def end(self, tag: str) -> None: ...

    def literal(self, tag: str, attrs: dict[str, str], content: str) -> None:
        """An element whose content is text, already decoded."""

    def flush(self) -> None:
        """There is no more."""


# A quoted value may hold a few `<`, as `alt="CO<sub>2</sub>"` does, but no block.
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
    """Tells tags from text, and whoever listens what it found."""

    def __init__(self, source: str, listener: Listener) -> None:
        self._source = source
        self._listener = listener
        # Dropped tags that are not closed any more in the rest of the source.
        self._unclosed: set[str] = set()

    def run(self) -> None:
        source, position = self._source, 0
        while (start := source.find("<", position)) >= 0:
            self._listener.text(source[position:start])
            position = self._markup(start)
        self._listener.text(source[position:])
        self._listener.flush()

    def _markup(self, start: int) -> int:
        """Handle the `<` at `start`; returns where to go on."""
        source = self._source
        if source.startswith("<!--", start):
            return self._comment(start)
        match = _TAG.match(source, start)
        if match is not None and match["name"].lower() in KNOWN_TAGS:
            return self._tag(match)
        if match is None and (declaration := _DECLARATION.match(source, start)):
            return declaration.end()
        if match is None and (cut := _CUT_TAG.match(source, start)):
            return self._cut_tag(cut)
        self._listener.text("<")
        return start + 1

    def _comment(self, start: int) -> int:
        end = -1 if "comment" in self._unclosed else self._source.find("-->", start)
        if end >= 0:
            return end + 3
        self._unclosed.add("comment")
        return start + 4

    def _tag(self, match: re.Match[str]) -> int:
        tag = match["name"].lower()
        tag = RENAMED_TAGS.get(tag, tag)
        if tag in DROPPED_TAGS:
            is_empty = match["close"] or match["attrs"].endswith("/")
            return match.end() if is_empty else self._dropped(tag, match.end())
        if tag not in KEPT_TAGS and tag not in REWRITTEN_TAGS:
            # Words on both sides of `<optgroup>` are two words.
            self._listener.text("" if tag in JOINING_TAGS else " ")
        elif match["close"]:
            self._listener.end(tag)
        elif tag in LITERAL_TAGS:
            return self._literal(tag, match)
        else:
            self._listener.start(tag, _attributes(match["attrs"]))
        return match.end()

    def _dropped(self, tag: str, position: int) -> int:
        """Skip what a script holds; one never closed ends with its block."""
        if tag not in self._unclosed:
            if end := _DROPPED_END[tag].search(self._source, position):
                return end.end()
            self._unclosed.add(tag)
        edge = _BLOCK_EDGE.search(self._source, position)
        return edge.start() if edge else len(self._source)

    def _literal(self, tag: str, match: re.Match[str]) -> int:
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
            content = _CUT_LITERAL.sub("", content)
        self._listener.literal(tag, _attributes(match["attrs"]), _literal_text(content))
        return resume

    def _cut_tag(self, cut: re.Match[str]) -> int:
        """The answer ended inside this tag; only a description is worth keeping."""
        name, attrs = (cut["name"] or "").lower(), cut["attrs"] or ""
        if name == "img" and attrs:
            self._listener.start("img", _attributes(attrs))
        elif name and not _may_begin_tag(name, attrs):
            self._listener.text("<")
            return cut.start() + 1
        return len(self._source)


def _may_begin_tag(name: str, attrs: str) -> bool:
    if not attrs:
        return any(known.startswith(name) for known in KNOWN_TAGS)
    return name in KNOWN_TAGS and _CUT_ATTRIBUTES.fullmatch(attrs) is not None


_CUT_ATTRIBUTES = re.compile(
    r"(?:\s++[\w-]++=(?:\"[^\"]*+\"|'[^']*+'|[^\s\"']++(?=\s)))*+"
    r"(?:\s++(?:[\w-]++(?:=(?:\"[^\"]*+|'[^']*+|[^\s\"']*+))?)?)?/?"
)
_CUT_LITERAL = re.compile(r"<(?:/[a-z]*+)?\Z")
_LONG_REFERENCE = re.compile(r"&#[0-9]{8,}+;?")
_REFERENCE = re.compile(
    r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]*+);"
)


def _attributes(source: str) -> dict[str, str]:
    attrs: dict[str, str] = {}
    for name, value in _ATTRIBUTE.findall(source):
        if value[:1] in ("'", '"'):
            value = value[1:].removesuffix(value[0])
        attrs.setdefault(name.lower(), decoded(value))
    return attrs


def decoded(text: str) -> str:
    """Text with its character references replaced."""
    # html.unescape raises on a number of more than 4,300 digits.
    return html.unescape(_LONG_REFERENCE.sub("\ufffd", text)) if "&" in text else text


def _literal_text(source: str) -> str:
    """LaTeX as it was meant: `&lt;` is `<`, but `a &amp b` and `&=` stay."""
    return _REFERENCE.sub(lambda match: html.unescape(match[0]), source)
