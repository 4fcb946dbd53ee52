"""Where each page's keys and values lie. Integers only.

The cache of a page is one run of places, the same in every layer: a segment. The
attention operator takes segments in any order with gaps between, so a page needs no
table of blocks; when a segment must grow and cannot, it moves.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Move", "Segment", "SegmentPool"]


@dataclass(eq=False, slots=True)
class Segment:
    """Places `start` to `start + length`, all of one page's."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Move:
    """Copy `length` places from `source` on to `target` on; the two may overlap."""

    source: int
    target: int
    length: int


class SegmentPool:
    """Hands out `num_places`. Moves it asks for must be made in the order given.

    A method that needs more than is free returns None and changes nothing.
    """

    def __init__(self, num_places: int) -> None:
        self.num_places = num_places
        self._segments: list[Segment] = []  # by start

    @property
    def num_free(self) -> int:
        """Places that belong to no segment."""
        return self.num_places - sum(segment.length for segment in self._segments)

    def allocate(
        self, length: int, used: Mapping[Segment, int]
    ) -> tuple[Segment, list[Move]] | None:
        """A new segment; others may move to make room. `used`: see `grow`."""
        if length > self.num_free:
            return None
        start = self._gap(length)
        moves: list[Move] = []
        if start is None:
            moves = self._lay_out(used)
            start = self._segments[-1].end if self._segments else 0
        segment = Segment(start, length)
        insort(self._segments, segment, key=_start)
        return segment, moves

    def grow(
        self, segment: Segment, length: int, used: Mapping[Segment, int]
    ) -> list[Move] | None:
        """Make a segment `length` places long, if need be somewhere else.

        `used` says how many places of each segment hold something: a move copies
        those, 0 where a segment is not named.
        """
        more = length - segment.length
        if more > self.num_free:
            return None
        if self._end_of_room(segment) - segment.start >= length:
            segment.length = length
            return []
        start = self._gap(length)
        if start is None:
            segment.length = length
            return self._lay_out(used)
        move = Move(segment.start, start, used.get(segment, 0))
        self._segments.remove(segment)
        segment.start, segment.length = start, length
        insort(self._segments, segment, key=_start)
        return [move] if move.length else []

    def free(self, segment: Segment) -> None:
        """Take a segment back."""
        self._segments.remove(segment)

    def _gap(self, length: int) -> int | None:
        """The start of the first gap of that length."""
        start = 0
        for segment in self._segments:
            if segment.start - start >= length:
                return start
            start = segment.end
        return start if self.num_places - start >= length else None

    def _end_of_room(self, segment: Segment) -> int:
        index = self._segments.index(segment) + 1
        if index == len(self._segments):
            return self.num_places
        return self._segments[index].start

    def _lay_out(self, used: Mapping[Segment, int]) -> list[Move]:
        """Put all segments side by side, from the first place on."""
        leftward: list[Move] = []
        rightward: list[Move] = []
        start = 0
        for segment in self._segments:
            move = Move(segment.start, start, used.get(segment, 0))
            if move.length and move.source != move.target:
                (leftward if start < segment.start else rightward).append(move)
            segment.start = start
            start = segment.end
        # The order is kept, so no move writes over what another has yet to read:
        # to the left from the left, to the right from the right.
        return leftward + rightward[::-1]


def _start(segment: Segment) -> int:
    return segment.start
