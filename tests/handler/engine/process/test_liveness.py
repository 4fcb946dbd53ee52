"""The worker detects stalls by an engine's heartbeats."""

from __future__ import annotations

import pytest

from handler.engine.process.liveness import Liveness
from handler.engine.process.messages import Heartbeat, Progress
from handler.engine.steps import RunningStep, StepKind
from tests.handler.engine.clock import Clock

HUNG = RunningStep(StepKind.DECODE, 8, 10.5, 10.0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def liveness(clock):
    return Liveness(clock=clock)


def be_silent(liveness: Liveness, clock: Clock, seconds: int) -> None:
    """Observe no message twice a second."""
    for _ in range(2 * seconds):
        clock.now += 0.5
        liveness.observe(None)


def test_process_that_beats_is_alive(liveness, clock):
    for _ in range(60):
        clock.now += 1.0
        liveness.observe(Heartbeat(None))

    assert liveness.stall is None


def test_silence_of_ten_seconds_is_a_stall(liveness, clock):
    be_silent(liveness, clock, 10)
    assert liveness.stall is None

    clock.now += 0.5
    liveness.observe(None)

    assert liveness.stall is not None
    assert liveness.stall.reason == "sent no heartbeat for 10.5 s"


@pytest.mark.parametrize("message", [Heartbeat(None), Progress({})])
def test_any_message_ends_the_silence(liveness, clock, message):
    be_silent(liveness, clock, 20)

    liveness.observe(message)

    assert liveness.stall is None


def test_hung_step_is_a_stall_that_names_it(liveness):
    liveness.observe(Heartbeat(HUNG))

    assert liveness.stall is not None
    assert liveness.stall.step == HUNG
    assert "one decode step for 10.5 s" in liveness.stall.reason


def test_next_step_ends_the_stall(liveness):
    liveness.observe(Heartbeat(HUNG))

    liveness.observe(Heartbeat(RunningStep(StepKind.DECODE, 8, 0.1, 100.0)))

    assert liveness.stall is None


def test_step_that_was_running_before_the_silence_is_named(liveness, clock):
    step = RunningStep(StepKind.PREFILL, 700, 0.2, None)
    liveness.observe(Heartbeat(step))

    be_silent(liveness, clock, 11)

    assert liveness.stall.step == step


def test_time_in_which_the_worker_was_stopped_is_no_silence(liveness, clock):
    clock.now += 600.0

    liveness.observe(None)

    assert liveness.stall is None
