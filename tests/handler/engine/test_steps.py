"""Timing of steps, and detection of hung ones."""

from __future__ import annotations

import pytest

from handler.engine.steps import StepKind, StepTimer
from tests.handler.engine.clock import Clock

ENCODE, PREFILL, DECODE = StepKind.ENCODE, StepKind.PREFILL, StepKind.DECODE


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timer(clock):
    return StepTimer(clock)


def run_step(
    timer: StepTimer, clock: Clock, kind: StepKind, seconds: float, size=1
) -> None:
    """Run one step from start to end."""
    timer.start(kind, size)
    clock.now += seconds
    timer.stop()


def is_hung(timer: StepTimer, clock: Clock, seconds: float) -> bool:
    """Return whether the running step has hung after `seconds` more."""
    clock.now += seconds
    step = timer.measure_running_step()
    assert step is not None
    return step.is_hung


def test_idle_engine_runs_no_step(timer, clock):
    assert timer.measure_running_step() is None

    run_step(timer, clock, DECODE, 0.1)

    assert timer.measure_running_step() is None


def test_step_hangs_after_ten_seconds_if_others_were_short(timer, clock):
    run_step(timer, clock, DECODE, 0.1)

    timer.start(DECODE)

    assert not is_hung(timer, clock, 9.9)
    assert is_hung(timer, clock, 0.2)


def test_step_hangs_after_ten_times_the_longest_of_its_kind(timer, clock):
    for seconds in (1.0, 3.1, 2.0):
        run_step(timer, clock, DECODE, seconds)

    timer.start(DECODE)

    assert not is_hung(timer, clock, 30.9)
    assert is_hung(timer, clock, 0.2)


def test_steps_of_other_kinds_are_not_compared(timer, clock):
    run_step(timer, clock, DECODE, 100.0)
    run_step(timer, clock, PREFILL, 0.1)

    timer.start(PREFILL)

    assert is_hung(timer, clock, 10.1)


def test_larger_step_may_take_longer_in_proportion(timer, clock):
    run_step(timer, clock, ENCODE, 1.5, size=100)

    timer.start(ENCODE, 400)

    assert not is_hung(timer, clock, 59.9)
    assert is_hung(timer, clock, 0.2)


def test_smaller_step_may_take_as_long_as_the_longest(timer, clock):
    run_step(timer, clock, ENCODE, 3.0, size=400)

    timer.start(ENCODE, 100)

    assert not is_hung(timer, clock, 29.9)
    assert is_hung(timer, clock, 0.2)


def test_first_step_of_a_kind_has_no_limit_of_its_own(timer, clock):
    run_step(timer, clock, DECODE, 0.1)

    timer.start(ENCODE)

    assert not is_hung(timer, clock, 250.0)


def test_first_step_has_the_configured_limit(clock):
    timer = StepTimer(clock, first_limit_seconds=60.0)

    timer.start(ENCODE)

    assert not is_hung(timer, clock, 59.0)
    assert is_hung(timer, clock, 2.0)


def test_next_step_ends_the_one_before(timer, clock):
    timer.start(DECODE)
    clock.now += 2.0
    timer.start(PREFILL)
    clock.now += 1.0

    timer.start(DECODE)

    step = timer.measure_running_step()
    assert (step.kind, step.limit_seconds) == (DECODE, 20.0)


def test_step_beyond_its_limit_raises_the_limit_tenfold_at_most(timer, clock):
    run_step(timer, clock, DECODE, 0.1)
    run_step(timer, clock, DECODE, 200.0)

    timer.start(DECODE)

    assert timer.measure_running_step().limit_seconds == 100.0


def test_time_while_the_process_was_stopped_is_ignored(timer, clock):
    run_step(timer, clock, DECODE, 0.1)
    timer.start(DECODE)
    timer.tick(1.0)

    assert not is_hung(timer, clock, 60.0)


def test_step_while_the_process_was_stopped_sets_no_limit(timer, clock):
    timer.tick(1.0)
    run_step(timer, clock, DECODE, 0.1)

    run_step(timer, clock, DECODE, 60.0)

    timer.start(DECODE)
    assert timer.measure_running_step().limit_seconds == 10.0


def test_ticking_process_can_hang(timer, clock):
    run_step(timer, clock, DECODE, 0.1)
    timer.start(DECODE)
    for _ in range(11):
        clock.now += 1.0
        timer.tick(1.0)

    assert timer.measure_running_step().is_hung
