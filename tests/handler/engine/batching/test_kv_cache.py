"""Allocation, growth and compaction of KV segments."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from handler.engine.batching.kv_cache import KVSegment, KVSegmentPool, Move


class CacheModel:
    """Pool and the content of its cache: each position names its owner."""

    def __init__(self, num_positions: int) -> None:
        self.pool = KVSegmentPool(num_positions)
        self.positions: list[object] = [None] * num_positions
        self.used: dict[KVSegment, int] = {}
        self.names: dict[KVSegment, int] = {}
        self.num_named = 0

    def allocate(self, length: int) -> Any:
        if (allocated := self.pool.allocate(length, self.used)) is None:
            return None
        segment, moves = allocated
        self.apply_moves(moves)
        self.names[segment] = self.num_named
        self.num_named += 1
        self.used[segment] = 0
        return segment

    def write(self, segment: KVSegment, count: int) -> None:
        for _ in range(min(count, segment.length - self.used[segment])):
            position = segment.start + self.used[segment]
            self.positions[position] = (self.names[segment], self.used[segment])
            self.used[segment] += 1

    def grow(self, segment: KVSegment, length: int) -> bool:
        moves = self.pool.grow(segment, length, self.used)
        if moves is None:
            return False
        self.apply_moves(moves)
        return True

    def free(self, segment: KVSegment) -> None:
        self.pool.free(segment)
        del self.used[segment], self.names[segment]

    def apply_moves(self, moves: list[Move]) -> None:
        for move in moves:
            content = self.positions[move.source : move.source + move.length]
            self.positions[move.target : move.target + move.length] = content

    def assert_content_is_intact(self) -> None:
        """Assert that segments do not overlap, and hold what was written to them."""
        segments = sorted(self.names, key=lambda segment: segment.start)
        end = 0
        for segment in segments:
            assert segment.start >= end
            end = segment.end
            content = self.positions[segment.start : segment.start + self.used[segment]]
            assert content == [
                (self.names[segment], i) for i in range(self.used[segment])
            ]
        assert end <= self.pool.num_positions
        assert self.pool.num_free == self.pool.num_positions - sum(
            segment.length for segment in segments
        )


def test_segments_are_allocated_side_by_side():
    cache = CacheModel(10)

    one, other = cache.allocate(4), cache.allocate(6)

    assert (one.start, other.start) == (0, 4)
    assert cache.pool.num_free == 0


def test_allocation_beyond_the_free_positions_changes_nothing():
    cache = CacheModel(10)
    cache.allocate(4)

    assert cache.allocate(7) is None
    assert cache.pool.num_free == 6


def test_freed_positions_are_allocated_again():
    cache = CacheModel(10)
    first, _ = cache.allocate(4), cache.allocate(6)
    cache.free(first)

    assert cache.allocate(3).start == 0


def test_segment_grows_in_place_if_positions_behind_are_free():
    cache = CacheModel(10)
    segment = cache.allocate(4)

    assert cache.pool.grow(segment, 9, {segment: 4}) == []
    assert (segment.start, segment.length) == (0, 9)


def test_segment_that_cannot_grow_in_place_moves():
    cache = CacheModel(12)
    segment, _ = cache.allocate(3), cache.allocate(3)

    moves = cache.pool.grow(segment, 5, {segment: 2})

    assert moves == [Move(source=0, target=6, length=2)]
    assert (segment.start, segment.length) == (6, 5)


def test_small_gaps_are_joined_by_compaction():
    cache = CacheModel(9)
    segments = [cache.allocate(3) for _ in range(3)]
    for segment in segments:
        cache.write(segment, 3)
    cache.free(segments[0])
    cache.free(segments[2])

    assert cache.allocate(6) is not None
    cache.assert_content_is_intact()


def test_growing_segment_compacts_the_cache():
    cache = CacheModel(12)
    segments = [cache.allocate(3) for _ in range(4)]
    for segment in segments:
        cache.write(segment, 3)
    cache.free(segments[0])
    cache.free(segments[3])

    assert cache.grow(segments[1], 8)
    cache.assert_content_is_intact()


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["allocate", "write", "grow", "free"]),
        st.integers(0, 30),
        st.integers(1, 20),
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(ACTIONS, st.integers(1, 60))
def test_random_operations_neither_lose_nor_share_content(actions, num_positions):
    cache = CacheModel(num_positions)
    for name, which, amount in actions:
        segments = list(cache.names)
        if name == "allocate":
            expected = amount <= cache.pool.num_free
            assert (cache.allocate(amount) is not None) == expected
        elif segments:
            segment = segments[which % len(segments)]
            if name == "write":
                cache.write(segment, amount)
            elif name == "grow":
                expected = amount <= cache.pool.num_free
                assert cache.grow(segment, segment.length + amount) == expected
            else:
                cache.free(segment)
        cache.assert_content_is_intact()
    for segment in list(cache.names):
        cache.free(segment)
    assert cache.pool.num_free == num_positions


@pytest.mark.parametrize("length", [1, 10])
def test_one_segment_can_take_the_whole_cache(length):
    cache = CacheModel(length)

    assert cache.allocate(length).length == length
    assert cache.allocate(1) is None
