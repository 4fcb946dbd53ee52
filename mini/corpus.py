"""The text the tokenizer learns from: prompts, markup and prose."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from chandra.prompts import PROMPT_MAPPING

from handler.profiles import PROFILES

__all__ = ["LABELS", "corpus"]

LABELS = (
    "Caption",
    "Footnote",
    "Equation-Block",
    "List-Group",
    "Page-Header",
    "Page-Footer",
    "Image",
    "Section-Header",
    "Table",
    "Text",
    "Complex-Block",
    "Code-Block",
    "Form",
    "Table-Of-Contents",
    "Figure",
)

_CONTAINERS = (
    *(
        "math",
        "i",
        "b",
        "u",
        "del",
        "sup",
        "sub",
        "table",
        "tr",
        "td",
        "p",
        "th",
        "div",
    ),
    *("pre", "h1", "h2", "h3", "h4", "h5", "ul", "ol", "li", "a", "span", "tbody"),
    *("small", "caption", "strong", "thead", "big", "code"),
)

# The ways in which tags meet, and the tags that carry attributes.
_IDIOMS = (
    "<table><thead><tr><th></th><th></th></tr></thead><tbody><tr><td></td><td></td></tr>",
    "<tr><td></td></tr></tbody></table>",
    '<table border="1"><tr><td colspan="2"></td><td rowspan="3"></td></tr></table>',
    "<ul><li></li><li></li></ul>",
    "<ol><li></li><li></li></ol>",
    '<math display="block">\\frac{a}{b} = \\sum_{i=1}^{n} x_{i}^{2}</math>',
    '<input type="checkbox" checked> <input type="checkbox">',
    '<input type="radio" value="">',
    '<img alt="',
    '<a href="https://www."></a>',
    '<p align="center"></p><p style="text-align: right"></p><span class=""></span>',
    "<br><hr><br/><hr/>",
)

# A merge is learnt once its string is seen a few times more often than the
# prose's rarest words; a full page has some twenty divs, so that is no lie.
_NUM_MARKUP_ROUNDS = 40
_NUM_PROMPT_ROUNDS = 8
_NUM_PROSE_ROUNDS = 2


def corpus() -> Iterator[str]:
    """Every text, in an order that never changes."""
    for _ in range(_NUM_PROMPT_ROUNDS):
        yield from _prompts()
    for _ in range(_NUM_MARKUP_ROUNDS):
        yield from _markup()
    for _ in range(_NUM_PROSE_ROUNDS):
        yield from _prose()


def _prompts() -> list[str]:
    wanted = PROFILES["mini"].prompt_package
    installed = version("chandra-ocr")
    if installed != wanted:
        raise RuntimeError(
            f"the mini checkpoint is built from the prompts of chandra-ocr {wanted}, "
            f"{installed} is installed; "
            f"run: pip install --no-deps chandra-ocr=={wanted}"
        )
    return [PROMPT_MAPPING["ocr_layout"], PROMPT_MAPPING["ocr"]]


def _markup() -> list[str]:
    tags = itertools.chain.from_iterable(
        (f"<{tag}>", f"</{tag}>") for tag in _CONTAINERS
    )
    divs = (
        f'<div data-bbox="[12, 34, 56, 78]" data-label="{label}">' for label in LABELS
    )
    return ["".join(tags), *divs, *(f"{div}</div>" for div in _IDIOMS)]


def _prose() -> list[str]:
    return Path(__file__).with_name("prose.txt").read_text("utf-8").splitlines()
