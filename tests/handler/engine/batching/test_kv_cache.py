"""The pool of segments: what is handed out, moved, grown and given back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from handler.engine.batching.kv_cache import KVSegment, KVSegmentPool, Move


class Memory:
    """A pool and the places it speaks of, each written with its owner's name."""

    def __init__(self, num_positions: int) -> None:
        self.pool = KVSegmentPool(num_positions)
        self.positions: list[object] = [None] * num_positions
        self.used: dict[KVSegment, int] = {}
        self.names: dict[KVSegment, int] = {}
        self.num_named = 0

    def allocate(self, length: int) -> Any:
        if (found := self.pool.allocate(length, self.used)) is None:
            return None
        segment, moves = found
        self.make(moves)
        self.names[segment] = self.num_named
        self.num_named += 1
        self.used[segment] = 0
        return segment

    def write(self, segment: KVSegment, count: int) -> None:
        for _ in range(min(count, segment.length - self.used[segment])):
            place = segment.start + self.used[segment]
            self.positions[place] = (self.names[segment], self.used[segment])
            self.used[segment] += 1

    def grow(self, segment: KVSegment, length: int) -> bool:
        moves = self.pool.grow(segment, length, self.used)
        if moves is None:
            return False
        self.make(moves)
        return True

    def free(self, segment: KVSegment) -> None:
        self.pool.free(segment)
        del self.used[segment], self.names[segment]

    def make(self, moves: list[Move]) -> None:
        for move in moves:
            held = self.positions[move.source : move.source + move.length]
            self.positions[move.target : move.target + move.length] = held

    def check(self) -> None:
        segments = sorted(self.names, key=lambda segment: segment.start)
        end = 0
        for segment in segments:
            assert segment.start >= end
            end = segment.end
            held = self.positions[segment.start : segment.start + self.used[segment]]
            assert held == [(self.names[segment], i) for i in range(self.used[segment])]
        assert end <= self.pool.num_positions
        assert self.pool.num_free == self.pool.num_positions - sum(
            segment.length for segment in segments
        )


def test_segments_are_handed_out_side_by_side():
    memory = Memory(10)

    one, other = memory.allocate(4), memory.allocate(6)

    assert (one.start, other.start) == (0, 4)
    assert memory.pool.num_free == 0


def test_more_than_there_is_is_refused_and_changes_nothing():
    memory = Memory(10)
    memory.allocate(4)

    assert memory.allocate(7) is None
    assert memory.pool.num_free == 6


def test_what_was_given_back_is_used_again():
    memory = Memory(10)
    first, _ = memory.allocate(4), memory.allocate(6)
    memory.free(first)

    assert memory.allocate(3).start == 0


def test_a_segment_grows_in_place_where_the_places_behind_it_are_free():
    memory = Memory(10)
    segment = memory.allocate(4)

    assert memory.pool.grow(segment, 9, {segment: 4}) == []
    assert (segment.start, segment.length) == (0, 9)


def test_a_segment_that_cannot_grow_in_place_moves_with_what_it_holds():
    memory = Memory(12)
    segment, _ = memory.allocate(3), memory.allocate(3)

    moves = memory.pool.grow(segment, 5, {segment: 2})

    assert moves == [Move(source=0, target=6, length=2)]
    assert (segment.start, segment.length) == (6, 5)


def test_gaps_that_are_too_small_alone_are_joined():
    memory = Memory(9)
    segments = [memory.allocate(3) for _ in range(3)]
    for segment in segments:
        memory.write(segment, 3)
    memory.free(segments[0])
    memory.free(segments[2])

    assert memory.allocate(6) is not None
    memory.check()


def test_others_make_way_for_one_that_grows():
    memory = Memory(12)
    segments = [memory.allocate(3) for _ in range(4)]
    for segment in segments:
        memory.write(segment, 3)
    memory.free(segments[0])
    memory.free(segments[3])

    assert memory.grow(segments[1], 8)
    memory.check()


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
def test_nothing_is_lost_or_shared_whatever_happens(actions, num_positions):
    memory = Memory(num_positions)
    for name, which, amount in actions:
        segments = list(memory.names)
        if name == "allocate":
            expected = amount <= memory.pool.num_free
            assert (memory.allocate(amount) is not None) == expected
        elif segments:
            segment = segments[which % len(segments)]
            if name == "write":
                memory.write(segment, amount)
            elif name == "grow":
                expected = amount <= memory.pool.num_free
                assert memory.grow(segment, segment.length + amount) == expected
            else:
                memory.free(segment)
        memory.check()
    for segment in list(memory.names):
        memory.free(segment)
    assert memory.pool.num_free == num_positions


@pytest.mark.parametrize("length", [1, 10])
def test_a_whole_pool_can_be_one_segment(length):
    memory = Memory(length)

    assert memory.allocate(length).length == length
    assert memory.allocate(1) is None
