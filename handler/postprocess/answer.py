"""Extraction of a page's HTML from the model's output.

Reasoning, a Markdown fence and control characters around the page are removed.
"""

from __future__ import annotations

import re

from handler.schema import PageWarning

__all__ = ["extract_answer"]

# Control characters are no text. Noncharacters serve the writers as internal marks.
_ILLEGIBLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile(r"\r\n?|\f")
_FENCE = re.compile(r"\s*```[a-zA-Z]*[ \t]*\n")
_THINK = "<think>"
_END_THINK = "</think>"
_FIRST_BLOCK = re.compile(r"<div\s[^<>]*\bdata-(?:bbox|label)\s*=", re.IGNORECASE)


def extract_answer(raw: str) -> tuple[str, tuple[PageWarning, ...]]:
    """Return the HTML in the model's output, and a warning if reasoning was removed."""
    text = _SURROGATES.sub("\ufffd", _LINE_ENDS.sub("\n", raw))
    text = _ILLEGIBLE.sub("", text)
    start = _find_answer_start(text)
    warnings: tuple[PageWarning, ...] = ()
    if start:
        detail = f"{start} characters of reasoning before the page were removed"
        warnings = (PageWarning("reasoning_removed", detail),)
    return _strip_fence(text[start:]), warnings


def _find_answer_start(text: str) -> int:
    """Return the index at which the answer begins, after any reasoning.

    In output that begins with a tag or a fence, `</think>` is text of the page. If it
    ended the reasoning there, a document could erase the page before it.
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


def _strip_fence(text: str) -> str:
    """Remove a Markdown fence around the whole text; its end may be missing."""
    opening = _FENCE.match(text)
    if opening is None:
        return text
    return text[opening.end() :].rstrip().removesuffix("```")
