"""Queue of the pages that wait for an engine process with room."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["PageQueue"]


class _RequestPage(Protocol):
    @property
    def request_id(self) -> str: ...


T = TypeVar("T", bound=_RequestPage)


class PageQueue(Generic[T]):
    """Queue of pages in which requests take turns, one page each.

    The pages of one request keep their order. A page of a short document waits for one
    page of each long document instead of all of them.
    """

    def __init__(self) -> None:
        # The dict's order is the order of the turns: its first request is next.
        self._pages: dict[str, deque[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._pages.values()))

    def __iter__(self) -> Iterator[T]:
        return (page for pages in self._pages.values() for page in pages)

    def add(self, page: T) -> None:
        """Append a page to the pages of its request."""
        self._pages.setdefault(page.request_id, deque()).append(page)

    def take(self) -> T:
        """Remove and return the next page; its request then comes last in turn.

        The queue must not be empty.
        """
        request_id, pages = next(iter(self._pages.items()))
        del self._pages[request_id]
        page = pages.popleft()
        if pages:
            self._pages[request_id] = pages
        return page

    def remove(self, page: T) -> bool:
        """Remove a page from the queue; return False if it is not in the queue."""
        pages = self._pages.get(page.request_id, deque())
        if page not in pages:
            return False
        pages.remove(page)
        if not pages:
            del self._pages[page.request_id]
        return True
