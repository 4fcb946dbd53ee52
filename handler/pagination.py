"""Page separators in Markdown, as chandra-ocr writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["page_separator", "paginate"]

_RULE = "-" * 48
_LOOKALIKE = re.compile(rf"^([ \t]*\d+)(?={_RULE}[ \t]*$)", re.MULTILINE)


def page_separator(page: int) -> str:
    """Return the separator before page `page`, which is counted from 1.

    `chandra --paginate_output` writes the same: the page's index, counted from 0, and
    48 hyphens.
    """
    return f"\n\n{page - 1}{_RULE}\n\n"


def paginate(pages: Iterable[tuple[int, str]]) -> str:
    """Join the texts of numbered pages, with a separator between two pages.

    Pages without text are included. A line of a page that looks like a separator gets a
    backslash, which Markdown shows in code only, so that a caller can split the result
    at the separators.
    """
    joined = ""
    for index, (number, text) in enumerate(pages):
        if index:
            joined += page_separator(number)
        joined += _LOOKALIKE.sub(r"\1\\", text)
    return joined
