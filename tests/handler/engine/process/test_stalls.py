"""Engine processes that stall and recover, and their pages.

The processes and pipes are real. Except in slow tests, their time limits are shorter
than those of a server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from concurrent.futures import Future

import pytest

from handler.engine import EngineOutput, EngineProcesses, FinishReason, Health
from handler.engine.process.process import POLL_SECONDS
from handler.settings import EngineSettings
from tests.fakes import engine_request, start_impatient_child, start_scripted_child
from tests.waiting import until


@pytest.fixture
def engines_with():
    """Return a function that starts engine processes, which end after the test.

    A step that takes longer than a second counts as hung.
    """
    started: list[EngineProcesses] = []

    def start(*, silence_seconds: float = 10.0, **settings) -> EngineProcesses:
        engines = EngineProcesses(
            EngineSettings(**settings),
            start_child=start_impatient_child,
            sleep=lambda seconds: None,
            silence_seconds=silence_seconds,
        )
        started.append(engines)
        engines.start()
        return engines

    yield start
    for engines in started:
        engines.close()


@pytest.fixture
def stop():
    """Return a function that stops a process by SIGSTOP until the test ends."""
    stopped: list[int] = []

    def stop_process(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    yield stop_process
    for pid in stopped:
        continue_process(pid)


def continue_process(pid: int) -> None:
    # The process is gone if it was replaced.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def healths_until(
    future: Future[EngineOutput], engines: EngineProcesses
) -> set[Health]:
    """Return the healths that the engines have until a page is done."""
    healths: set[Health] = set()

    def is_done() -> bool:
        healths.add(engines.health)
        return future.done()

    until(is_done, 60)
    return healths


def test_hung_step_stalls_the_engine(engines_with):
    engines = engines_with()
    engines.submit(engine_request("a/1", "say hello")).result(10)

    engines.submit(engine_request("a/2", "hang"))

    until(lambda: engines.health is Health.STALLED)
    time.sleep(2 * POLL_SECONDS)  # Further heartbeats change nothing.
    assert engines.health is Health.STALLED


@pytest.mark.slow
def test_first_long_step_does_not_stall_the_engine(engines_with):
    engines = engines_with()
    engines.submit(engine_request("a/1", "say hello")).result(10)

    future = engines.submit(engine_request("a/2", "encode 2.5"))

    assert healths_until(future, engines) == {Health.READY}


@pytest.mark.slow
def test_stalled_engine_recovers_when_its_long_step_ends(engines_with):
    engines = engines_with()
    engines.submit(engine_request("a/1", "encode 0.01")).result(10)

    slow = engines.submit(engine_request("a/2", "encode 2"))

    until(lambda: engines.health is Health.STALLED)
    assert slow.result(10).num_attempts == 1
    until(lambda: engines.health is Health.READY)


def test_stopped_process_stalls_and_recovers_with_its_pages(engines_with, stop):
    engines = engines_with(silence_seconds=0.5)
    [pid] = engines.pids
    page = engines.submit(engine_request("a/1", "wait 3"))
    until(lambda: engines.count_output_tokens("a/1"))

    stop(pid)
    until(lambda: engines.health is Health.STALLED)
    continue_process(pid)

    until(lambda: engines.health is Health.READY)
    assert page.result(20).finish_reason is FinishReason.STOP
    assert page.result().num_attempts == 1
    assert engines.pids == [pid]


def test_stop_during_a_step_is_not_a_hung_step(engines_with, stop):
    engines = engines_with(silence_seconds=0.5)
    engines.submit(engine_request("a/1", "encode 0.01")).result(10)
    [pid] = engines.pids
    page = engines.submit(engine_request("a/2", "encode 0.4"))
    stop(pid)
    until(lambda: engines.health is Health.STALLED)

    continue_process(pid)

    until(lambda: engines.health is Health.READY)
    assert page.result(10).num_attempts == 1


def test_page_submitted_during_a_stall_waits_for_recovery(engines_with, stop):
    engines = engines_with(silence_seconds=0.5)
    [pid] = engines.pids
    stop(pid)
    until(lambda: engines.health is Health.STALLED)

    page = engines.submit(engine_request("a/1", "say hello"))
    continue_process(pid)

    assert page.result(20).text == "hello"


def test_pages_go_to_the_engine_that_has_not_stalled(engines_with, stop, caplog):
    engines = engines_with(silence_seconds=0.5, model_revision="2")
    stop(engines.pids[0])
    until(lambda: "stall" in caplog.messages)

    pages = [engines.submit(engine_request(f"a/{n}", f"say {n}")) for n in range(6)]

    assert [page.result(10).text for page in pages] == list("012345")
    assert engines.health is Health.READY


def test_suspect_page_moves_away_from_a_stalled_engine(engines_with, stop):
    engines = engines_with(silence_seconds=0.5, model_revision="2", max_sequences=2)
    first = engines.submit(engine_request("a/1", "wait 600"))
    second = engines.submit(engine_request("a/2", "say hello"))
    until(lambda: engines.count_output_tokens("a/1"))
    [pid, _] = engines.pids
    os.kill(pid, signal.SIGKILL)
    # Both pages are read again alone; the first one's progress starts again.
    until(lambda: engines.pids[0] != pid and len(engines.pids) == 2)
    num_tokens = engines.count_output_tokens("a/1")
    until(lambda: engines.count_output_tokens("a/1") != num_tokens)
    assert not second.done()

    stop(engines.pids[0])

    assert second.result(20).text == "hello"
    assert not first.done()


@pytest.mark.slow
def test_process_with_hung_step_is_replaced_in_time(engines_with):
    engines = engines_with(stall_seconds=2.0)
    engines.submit(engine_request("a/1", "say hello")).result(10)
    [pid] = engines.pids

    failed = engines.submit(engine_request("a/2", "hang")).result(30)

    assert failed.error is not None
    assert "made no progress" in failed.error.detail
    until(lambda: engines.health is Health.READY)
    assert engines.pids != [pid]


@pytest.mark.slow
def test_idle_process_that_stays_stopped_is_replaced(engines_with, stop):
    engines = engines_with(silence_seconds=0.5, stall_seconds=2.0)
    [pid] = engines.pids

    stop(pid)

    until(lambda: engines.health is Health.STALLED)
    until(lambda: engines.health is Health.READY)
    assert engines.pids != [pid]


def test_stall_and_recovery_are_logged_once_each(engines_with, caplog):
    caplog.set_level(logging.INFO, "handler.engine.process.process")
    engines = engines_with()
    engines.submit(engine_request("a/1", "encode 0.01")).result(10)

    engines.submit(engine_request("a/2", "encode 2")).result(10)

    until(lambda: engines.health is Health.READY)
    stall, recovery = caplog.records
    assert (stall.getMessage(), stall.engine, stall.step) == ("stall", 0, "encode")
    assert 1 < stall.seconds < 2
    assert stall.limit_seconds == 1.0
    assert (recovery.getMessage(), recovery.engine) == ("recovery", 0)


@pytest.mark.slow
def test_engine_stays_ready_during_a_30_second_step():
    engines = EngineProcesses(EngineSettings(), start_child=start_scripted_child)
    engines.start()
    engines.submit(engine_request("a/1", "say hello")).result(10)

    future = engines.submit(engine_request("a/2", "encode 30"))

    assert healths_until(future, engines) == {Health.READY}
    engines.close()
    assert future.result().num_attempts == 1


@pytest.mark.slow
def test_hung_step_is_detected_within_15_seconds():
    engines = EngineProcesses(EngineSettings(), start_child=start_scripted_child)
    engines.start()
    engines.submit(engine_request("a/1", "say hello")).result(10)

    engines.submit(engine_request("a/2", "hang"))

    until(lambda: engines.health is Health.STALLED, 15)
    engines.close()
