"""Allocation of the KV cache: which cache positions each page owns. Integers only.

A page owns one KV segment: consecutive cache positions, the same in every layer. The
attention operator takes segments in any order and with gaps between them, so a page
needs no block table. A segment that must grow and has no free positions behind it is
moved.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KVSegment", "KVSegmentPool", "Move"]


@dataclass(eq=False, slots=True)
class KVSegment:
    """Cache positions of one page: `start` to `start + length`."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Move:
    """Copy of `length` cache positions from `source` to `target`; they may overlap."""

    source: int
    target: int
    length: int


class KVSegmentPool:
    """Allocator of KV segments in a cache of `num_positions`.

    `allocate` and `grow` may move segments. The caller must copy the cache content as
    the returned moves say, in their order, before it computes anything else. A method
    that needs more positions than are free returns None and changes nothing.

    The argument `used` is the number of positions of each segment that hold keys and
    values. Only these are copied; a segment that is not in `used` holds none.
    """

    def __init__(self, num_positions: int) -> None:
        self.num_positions = num_positions
        self._segments: list[KVSegment] = []  # Sorted by start.

    @property
    def num_free(self) -> int:
        """Number of positions that belong to no segment."""
        return self.num_positions - sum(segment.length for segment in self._segments)

    def allocate(
        self, length: int, used: Mapping[KVSegment, int]
    ) -> tuple[KVSegment, list[Move]] | None:
        """Allocate a segment in the first gap that is large enough.

        If there is none, compact the cache and allocate the segment behind the others.
        Returns the segment and the moves to make before it is used, or None if fewer
        than `length` positions are free.
        """
        if length > self.num_free:
            return None
        start = self._find_gap(length)
        moves: list[Move] = []
        if start is None:
            moves = self._compact(used)
            start = self._segments[-1].end if self._segments else 0
        segment = KVSegment(start, length)
        insort(self._segments, segment, key=_get_start)
        return segment, moves

    def grow(
        self, segment: KVSegment, length: int, used: Mapping[KVSegment, int]
    ) -> list[Move] | None:
        """Extend a segment to `length` positions.

        The segment stays where it is if the positions behind it are free. Otherwise it
        moves to the first gap that is large enough, or the cache is compacted. Returns
        the moves to make, or None if too few positions are free.
        """
        if length - segment.length > self.num_free:
            return None
        if self._end_of_room(segment) - segment.start >= length:
            segment.length = length
            return []
        start = self._find_gap(length)
        if start is None:
            segment.length = length
            return self._compact(used)
        move = Move(segment.start, start, used.get(segment, 0))
        self._segments.remove(segment)
        segment.start, segment.length = start, length
        insort(self._segments, segment, key=_get_start)
        return [move] if move.length else []

    def free(self, segment: KVSegment) -> None:
        """Free the positions of a segment."""
        self._segments.remove(segment)

    def _find_gap(self, length: int) -> int | None:
        """Return the start of the first gap of at least `length` free positions."""
        start = 0
        for segment in self._segments:
            if segment.start - start >= length:
                return start
            start = segment.end
        return start if self.num_positions - start >= length else None

    def _end_of_room(self, segment: KVSegment) -> int:
        """Return the position up to which a segment can grow without a move."""
        index = self._segments.index(segment) + 1
        if index == len(self._segments):
            return self.num_positions
        return self._segments[index].start

    def _compact(self, used: Mapping[KVSegment, int]) -> list[Move]:
        """Put all segments side by side from position 0 on; return the moves to make.

        Each segment gets its new start at once.
        """
        leftward: list[Move] = []
        rightward: list[Move] = []
        start = 0
        for segment in self._segments:
            move = Move(segment.start, start, used.get(segment, 0))
            if move.length and move.source != move.target:
                (leftward if start < segment.start else rightward).append(move)
            segment.start = start
            start = segment.end
        # The segments keep their order. So no move overwrites what a later one copies,
        # if moves to the left are made from the left and those to the right from the
        # right.
        return leftward + rightward[::-1]


def _get_start(segment: KVSegment) -> int:
    return segment.start
