"""Content negotiation: the media type of a reply from an Accept header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from handler.errors import NotAcceptableError

__all__ = ["ACCEPTED", "choose_media_type"]

ACCEPTED = (
    "application/json",
    "text/markdown",
    "text/html",
    "text/plain",
    "application/x-ndjson",
)

# Other media types in use for the accepted ones.
_TYPE_OF_ALIAS = {
    "application/json-lines": "application/x-ndjson",
    "application/jsonl": "application/x-ndjson",
    "application/jsonlines": "application/x-ndjson",
    "application/ndjson": "application/x-ndjson",
    "application/x-jsonlines": "application/x-ndjson",
    "application/xhtml+xml": "text/html",
    "text/x-markdown": "text/markdown",
}
_TOKEN = r"[A-Za-z0-9!#$&^_.+*-]+"
_MEDIA_RANGE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_QUALITY = re.compile(r"[0-9](\.[0-9]{0,9})?|\.[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class _MediaRange:
    """Entry of an Accept header, such as `text/*;q=0.5`."""

    pattern: str
    quality: float
    position: int

    def matches(self, media_type: str) -> bool:
        kind, _, subtype = self.pattern.partition("/")
        if subtype == "*":
            return kind in ("*", media_type.partition("/")[0])
        return self.pattern == media_type

    @property
    def num_wildcards(self) -> int:
        return self.pattern.count("*")


def choose_media_type(accept: str | None) -> str:
    """Return the media type of `ACCEPTED` that an Accept header prefers.

    Between types of equal quality, the one that the header names first is chosen. JSON
    is returned if the header is missing or has no valid entry. Raises
    NotAcceptableError if the header allows none of `ACCEPTED`.
    """
    ranges = list(_parse_ranges(accept or ""))
    if not ranges:
        return ACCEPTED[0]
    best: tuple[float, int, str] | None = None
    for media_type in ACCEPTED:
        matching = [r for r in ranges if r.matches(media_type)]
        if not matching:
            continue
        # The most specific range that matches a type determines its quality.
        narrowest = min(matching, key=lambda r: (r.num_wildcards, r.position))
        rank = (-narrowest.quality, narrowest.position, media_type)
        if narrowest.quality > 0 and (best is None or rank[:2] < best[:2]):
            best = rank
    if best is None:
        raise NotAcceptableError(f"the accepted media types are {', '.join(ACCEPTED)}")
    return best[2]


def _parse_ranges(accept: str) -> Iterator[_MediaRange]:
    for position, entry in enumerate(accept.split(",")):
        media_range, *parameters = (part.strip() for part in entry.split(";"))
        pattern = "*/*" if media_range == "*" else media_range.lower()
        if _MEDIA_RANGE.fullmatch(pattern):
            yield _MediaRange(
                _TYPE_OF_ALIAS.get(pattern, pattern),
                _parse_quality(parameters),
                position,
            )


def _parse_quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            # An invalid quality counts as 1, the default.
            number = _QUALITY.fullmatch(value.strip())
            return min(float(value), 1.0) if number else 1.0
    return 1.0
