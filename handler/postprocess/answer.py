"""Take the page out of what the model said: no reasoning, no fence, no stray bytes."""

from __future__ import annotations

import re

from handler.schema import PageWarning

__all__ = ["answer_of"]

# Not text in any encoding, and noncharacters, which the writers use as marks.
_ILLEGIBLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile(r"\r\n?|\f")
_FENCE = re.compile(r"\s*```[a-zA-Z]*[ \t]*\n")
_THINK = "<think>"
_END_THINK = "</think>"
_FIRST_BLOCK = re.compile(r"<div\s[^<>]*\bdata-(?:bbox|label)\s*=", re.IGNORECASE)


def answer_of(raw: str) -> tuple[str, tuple[PageWarning, ...]]:
    """The HTML in what the model wrote, and what had to be cut off to get it."""
    text = _SURROGATES.sub("\ufffd", _LINE_ENDS.sub("\n", raw))
    text = _ILLEGIBLE.sub("", text)
    start = _end_of_reasoning(text)
    warnings: tuple[PageWarning, ...] = ()
    if start:
        detail = f"{start} characters of reasoning before the page were removed"
        warnings = (PageWarning("reasoning_removed", detail),)
    return _without_fence(text[start:]), warnings


def _end_of_reasoning(text: str) -> int:
    """Where the answer begins.

    Once an answer has begun with a tag, `</think>` is what the paper says: a
    document must not be able to wipe out the page before it.
    """
    beginning = text.lstrip()
    end = text.find(_END_THINK)
    if end < 0 and beginning.startswith(_THINK):
        block = _FIRST_BLOCK.search(text)
        return block.start() if block else len(text)
    has_begun = beginning.startswith(("<", "```"))
    if end < 0 or (has_begun and not beginning.startswith((_THINK, _END_THINK))):
        return 0
    return end + len(_END_THINK)


def _without_fence(text: str) -> str:
    """The content of a Markdown fence around the whole, whether closed or cut off."""
    opening = _FENCE.match(text)
    if opening is None:
        return text
    return text[opening.end() :].rstrip().removesuffix("```")
