"""Parsing of page ranges such as `1-3,7,9-`."""

from __future__ import annotations

import re

from handler.errors import DocumentTooLargeError, InvalidOptionError

__all__ = ["parse_page_ranges"]

_EXAMPLE = "write pages as 1-3,7,9- (counted from 1; 9- means page 9 to the last)"
# The digits are bounded, because int() is slow on many digits and then fails. The
# quantifiers are possessive, because backtracking over many blanks would take long.
_RANGE = re.compile(
    r"\s*+([0-9]{1,18}+)\s*+(?:(-)\s*+([0-9]{1,18}+)?+\s*+)?+", re.ASCII
)


def parse_page_ranges(ranges: str | None, num_pages: int, max_pages: int) -> list[int]:
    """Return the selected page numbers in ascending order, without duplicates.

    `ranges` is None for all pages of the document, which has `num_pages`. Raises
    InvalidOptionError for a range that is malformed or outside the document, and
    DocumentTooLargeError for more than `max_pages` pages; a longer list is never built.
    """
    if ranges is None:
        if num_pages > max_pages:
            raise DocumentTooLargeError(
                f"the document has {num_pages} pages, and one request reads at most "
                f"{max_pages}; select some with the option pages, such as 1-{max_pages}"
            )
        return list(range(1, num_pages + 1))
    chosen: list[int] = []
    for first, last in sorted(
        _parse_range(part, num_pages) for part in ranges.split(",")
    ):
        start = max(first, chosen[-1] + 1) if chosen else first
        if len(chosen) + last - start + 1 > max_pages:
            raise DocumentTooLargeError(
                f"the option pages selects more than {max_pages} pages, "
                "the limit for one request; select fewer"
            )
        chosen.extend(range(start, last + 1))
    return chosen


def _parse_range(part: str, num_pages: int) -> tuple[int, int]:
    """Return the first and the last page of a range such as `7`, `7-9` or `7-`.

    Raises InvalidOptionError for a range that is malformed or outside the document.
    """
    match = _RANGE.fullmatch(part)
    if match is None:
        raise InvalidOptionError(f"pages has {part.strip()[:40]!r}; {_EXAMPLE}")
    first = int(match[1])
    last = int(match[3] or (num_pages if match[2] else first))
    if first < 1:
        raise InvalidOptionError(
            f"pages has {part.strip()[:40]!r}, but pages count from 1"
        )
    if max(first, last) > num_pages:
        raise InvalidOptionError(
            f"pages has {part.strip()[:40]!r}, but the document has "
            f"{num_pages} page{'' if num_pages == 1 else 's'}"
        )
    if first > last:
        raise InvalidOptionError(
            f"pages has {part.strip()[:40]!r}; write {last}-{first}"
        )
    return first, last
