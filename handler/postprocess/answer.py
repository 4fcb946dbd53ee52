"""Extraction of a page's HTML from the model's output.

Reasoning, a Markdown fence and control characters around the page are removed.
"""

from __future__ import annotations

import re

from handler.schema import PageWarning

__all__ = ["extract_answer"]

# Control characters are not text. The Markdown writer uses noncharacters as marks.
_CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff]+"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile(r"\r\n?|\f")
_FENCE = re.compile(r"\s*```[a-zA-Z]*[ \t]*\n")
_THINK_TAG = "<think>"
_THINK_END_TAG = "</think>"
_FIRST_BLOCK = re.compile(r"<div\s[^<>]*\bdata-(?:bbox|label)\s*=", re.IGNORECASE)


def extract_answer(raw: str) -> tuple[str, tuple[PageWarning, ...]]:
    """Return the HTML in the model's output, and a warning if reasoning was removed.

    Reasoning, a Markdown fence and control characters are removed. Lines end with
    "\\n", and lone surrogates become U+FFFD. Output that is only reasoning gives "".
    """
    text = _SURROGATES.sub("\ufffd", _LINE_ENDS.sub("\n", raw))
    text = _CONTROL_CHARACTERS.sub("", text)
    start = _find_answer_start(text)
    warnings: tuple[PageWarning, ...] = ()
    if start:
        detail = f"{start} characters of reasoning before the page were removed"
        warnings = (PageWarning("reasoning_removed", detail),)
    return _strip_fence(text[start:]), warnings


def _find_answer_start(text: str) -> int:
    """Return the index at which the answer begins, after any reasoning.

    The index is the length of the text if an unclosed `<think>` has no block after it.
    In output that begins with a tag or a fence, `</think>` is text of the page. If it
    ended the reasoning there, a document could erase the page before it.
    """
    beginning = text.lstrip()
    end = text.find(_THINK_END_TAG)
    if end < 0 and beginning.startswith(_THINK_TAG):
        block = _FIRST_BLOCK.search(text)
        return block.start() if block else len(text)
    has_begun = beginning.startswith(("<", "```"))
    if end < 0 or (
        has_begun and not beginning.startswith((_THINK_TAG, _THINK_END_TAG))
    ):
        return 0
    return end + len(_THINK_END_TAG)


def _strip_fence(text: str) -> str:
    """Remove a Markdown fence around the whole text; its end may be missing."""
    opening = _FENCE.match(text)
    if opening is None:
        return text
    return text[opening.end() :].rstrip().removesuffix("```")
