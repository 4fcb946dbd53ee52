"""Detection of stalled processes."""

from __future__ import annotations

import os

import pytest

from handler.processes.stalls import StallWatch, read_ticks_and_state

TICKS_A_HOUR = 360_000


class Process:
    """Fake clock, and processor ticks and state of a process, that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sample: tuple[int, str] | None = (100, "S")

    def watch(self, seconds: float) -> StallWatch:
        return StallWatch(1, seconds, lambda: self.now, lambda _pid: self.sample)


@pytest.mark.parametrize("state", ["S", "T", "D"])
def test_a_process_without_processor_time_is_stalled(state):
    process = Process()
    process.sample = (100, state)
    watch = process.watch(5)

    process.now = 4.9
    before = watch.is_stalled()
    process.now = 5.0

    assert (before, watch.is_stalled()) == (False, True)


@pytest.mark.parametrize("sample", [(101, "S"), (100, "R"), None])
def test_running_or_runnable_process_is_not_stalled(sample):
    process = Process()
    watch = process.watch(5)

    process.now, process.sample = 6.0, sample

    assert not watch.is_stalled()


def test_stall_ends_when_the_process_continues():
    process = Process()
    watch = process.watch(5)
    process.now = 6.0
    stalled = watch.is_stalled()

    process.sample = (101, "S")

    assert (stalled, watch.is_stalled()) == (True, False)


def test_processor_time_is_counted_from_the_first_look():
    process = Process()
    watch = process.watch(5)
    before = watch.processor_seconds

    process.sample = (100 + 3 * os.sysconf("SC_CLK_TCK"), "R")
    watch.is_stalled()

    assert (before, watch.processor_seconds) == (0.0, 3.0)


def test_processor_time_and_state_are_those_of_the_process():
    ticks, state = read_ticks_and_state(os.getpid()) or (-1, "")

    assert 0 <= ticks < TICKS_A_HOUR
    assert state == "R"


def test_a_process_that_is_gone_has_no_processor_time():
    assert read_ticks_and_state(2**22 + 1) is None
