"""Pages of a stream: read line by line, and shown in the order of the document."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from deploy.documents.options import parse_page_ranges
from deploy.errors import ResourceFailedError

__all__ = ["PageBuffer", "check_page", "event_from"]


def event_from(line: bytes) -> dict[str, Any]:
    """Return the event in a line of a stream.

    Raises ResourceFailedError for another line, such as an error page of a proxy.
    """
    try:
        event = json.loads(line)
        if event["event"] == "page":
            check_page(event)
    except (ValueError, KeyError, TypeError) as error:
        raise ResourceFailedError(
            "the container did not return a stream of pages: "
            + line[:200].decode(errors="replace").strip(),
            hint="the same command without --stream; chandra-sagemaker status shows "
            "which image runs",
        ) from error
    return dict(event)


def check_page(page: dict[str, Any]) -> None:
    """Check a page; raises KeyError or TypeError if it is invalid."""
    _check_field(page, "page", int)
    _check_field(page, "markdown", str)
    _check_field(page, "status", str)
    if page.get("error"):
        _check_field(page, "error", dict)
        _check_field(page["error"], "code", str)
        _check_field(page["error"], "detail", str)


def _check_field(fields: dict[str, Any], name: str, kind: type) -> None:
    """Raise KeyError or TypeError unless `fields` has a value of type `kind`."""
    if not isinstance(fields[name], kind):
        raise TypeError(f"{name} is {fields[name]!r}, which is not of {kind}")


class PageBuffer:
    """Buffer of streamed pages, which returns them in the order of the document."""

    def __init__(self, pages: str | None) -> None:
        """Take `pages` as requested, such as `1-3,7`, already checked; None: all."""
        self._numbers = _numbers(pages)
        self._next: int | None = next(self._numbers, None)
        self._waiting: dict[int, str] = {}

    def add(self, number: int, text: str) -> list[str]:
        """Add a page, and return the pages that can be shown now."""
        self._waiting[number] = text
        texts = []
        while self._next in self._waiting:
            texts.append(self._waiting.pop(self._next))
            self._next = next(self._numbers, None)
        return texts

    def drain(self) -> list[str]:
        """Remove and return the pages that wait for others, in order."""
        texts = [self._waiting[number] for number in sorted(self._waiting)]
        self._waiting.clear()
        return texts


def _numbers(pages: str | None) -> Iterator[int]:
    """Yield page numbers as the service reads them: in order, each once, from 1.

    Numbers do not end if the last interval is open.
    """
    above = 0
    for first, last in sorted(
        parse_page_ranges(pages or "1-"), key=lambda interval: interval[0]
    ):
        start = max(first, above + 1)
        if last is None:
            yield from itertools.count(start)
        else:
            yield from range(start, last + 1)
            above = max(above, last)
