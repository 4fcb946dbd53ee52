"""Strings that are single tokens: Chandra's markup and the lines of its prompts."""

from __future__ import annotations

from importlib.metadata import version

from chandra.prompts import PROMPT_MAPPING

from handler.postprocess.blocks.layout import CHANDRA_1_LABELS
from handler.profiles import PROFILES

__all__ = ["markup_tokens", "prompt_lines"]

_TAGS = (
    *("math", "i", "b", "u", "del", "sup", "sub", "table", "tr", "td", "p", "th"),
    *("div", "pre", "h1", "h2", "h3", "h4", "h5", "ul", "ol", "li", "a", "span"),
    *("tbody", "small", "caption", "strong", "thead", "big", "code"),
)

_SHORTEST_LINE = 3


def markup_tokens() -> list[str]:
    """Return the pieces of markup that are always one token."""
    return [
        '<div data-bbox="[',
        *(f']" data-label="{label}">' for label in CHANDRA_1_LABELS),
        *(f"<{tag}>" for tag in _TAGS),
        *(f"</{tag}>" for tag in _TAGS),
        "<br>",
        "<br/>",
        "<hr>",
        "<hr/>",
        '<img alt="',
        '"/>',
        '">',
        "&amp;",
        "&lt;",
        "&gt;",
    ]


def prompt_lines() -> list[str]:
    """Return all lines of the prompts, with their line breaks.

    Raise RuntimeError if another version of chandra-ocr is installed.
    """
    required = PROFILES["mini"].prompt_package
    installed = version("chandra-ocr")
    if installed != required:
        raise RuntimeError(
            f"the mini checkpoint needs the prompts of chandra-ocr {required}, "
            f"but {installed} is installed; "
            f"run: pip install --no-deps chandra-ocr=={required}"
        )
    lines = dict.fromkeys(
        line
        for name in ("ocr_layout", "ocr")
        for line in PROMPT_MAPPING[name].splitlines(keepends=True)
    )
    return [line for line in lines if len(line) >= _SHORTEST_LINE]
