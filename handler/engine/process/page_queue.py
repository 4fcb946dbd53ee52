"""Which page is read next, while there are more than the engine takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["WaitingPages"]


class _OfRequest(Protocol):
    @property
    def request_id(self) -> str: ...


T = TypeVar("T", bound=_OfRequest)


class WaitingPages(Generic[T]):
    """Pages in order of arrival, one of each request in turn.

    A page of a short document waits for one page of each long one, not for all.
    """

    def __init__(self) -> None:
        # A dict keeps its order: the request whose turn it is comes first.
        self._pages: dict[str, deque[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._pages.values()))

    def __iter__(self) -> Iterator[T]:
        return (page for pages in self._pages.values() for page in pages)

    def add(self, page: T) -> None:
        """Put a page at the end of its request's line."""
        self._pages.setdefault(page.request_id, deque()).append(page)

    def add_first(self, page: T) -> None:
        """Put a page back where it came from: it has waited already."""
        pages = self._pages.pop(page.request_id, deque())
        pages.appendleft(page)
        self._pages = {page.request_id: pages} | self._pages

    def take(self) -> T:
        """The next page; its request goes to the end of the round."""
        request_id, pages = next(iter(self._pages.items()))
        del self._pages[request_id]
        page = pages.popleft()
        if pages:
            self._pages[request_id] = pages
        return page

    def remove(self, page: T) -> bool:
        """Take a page out of its line; False when it is not in one."""
        pages = self._pages.get(page.request_id, deque())
        if page not in pages:
            return False
        pages.remove(page)
        if not pages:
            del self._pages[page.request_id]
        return True
