"""Detection of stalls by an engine's heartbeats."""

from __future__ import annotations

import pytest

from handler.engine.process.liveness import Liveness
from handler.engine.process.messages import Heartbeat, PageProgress
from handler.engine.steps import RunningStep, StepKind
from tests.handler.engine.clock import Clock

HUNG_STEP = RunningStep(StepKind.DECODE, 8, 10.5, 10.0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def liveness(clock):
    return Liveness(clock=clock)


def be_silent(liveness: Liveness, clock: Clock, seconds: int) -> None:
    """Observe twice a second that no message has arrived."""
    for _ in range(2 * seconds):
        clock.now += 0.5
        liveness.observe(None)


def test_process_with_heartbeats_has_not_stalled(liveness, clock):
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


@pytest.mark.parametrize("message", [Heartbeat(None), PageProgress({})])
def test_any_message_ends_the_silence(liveness, clock, message):
    be_silent(liveness, clock, 20)

    liveness.observe(message)

    assert liveness.stall is None


def test_hung_step_is_a_stall_with_its_name(liveness):
    liveness.observe(Heartbeat(HUNG_STEP))

    assert liveness.stall is not None
    assert liveness.stall.step == HUNG_STEP
    assert "one decode step for 10.5 s" in liveness.stall.reason


def test_next_step_ends_the_stall(liveness):
    liveness.observe(Heartbeat(HUNG_STEP))

    liveness.observe(Heartbeat(RunningStep(StepKind.DECODE, 8, 0.1, 100.0)))

    assert liveness.stall is None


def test_stall_names_the_last_running_step(liveness, clock):
    step = RunningStep(StepKind.PREFILL, 700, 0.2, None)
    liveness.observe(Heartbeat(step))

    be_silent(liveness, clock, 11)

    assert liveness.stall.step == step


def test_stopped_worker_does_not_count_as_silence(liveness, clock):
    clock.now += 600.0

    liveness.observe(None)

    assert liveness.stall is None
