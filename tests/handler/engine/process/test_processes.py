"""Engine processes that run, die and are replaced, and their pages.

The processes and pipes are real. Their engine follows instructions in the prompt.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future

import pytest

from handler.engine import EngineOutput, EngineProcesses, FinishReason, Health
from handler.errors import ModelLoadError
from handler.settings import EngineSettings
from tests.fakes import engine_request, start_scripted_child
from tests.waiting import until


@pytest.fixture
def engines_with():
    """Return a function that starts engine processes, which end after the test."""
    started: list[EngineProcesses] = []

    def start(**settings) -> EngineProcesses:
        engines = EngineProcesses(
            EngineSettings(**settings),
            start_child=start_scripted_child,
            sleep=lambda seconds: None,
        )
        started.append(engines)
        engines.start()
        return engines

    yield start
    for engines in started:
        engines.close()


def get_error_code(future: Future[EngineOutput]) -> str | None:
    error = future.result(30).error
    return None if error is None else error.code


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_result_of_a_page_has_its_text(engines_with):
    output = engines_with().submit(engine_request("a/1", "say hello")).result(10)

    assert output.text == "hello"
    assert output.finish_reason is FinishReason.STOP
    assert output.num_attempts == 1


def test_progress_is_visible_while_a_page_is_read(engines_with):
    engines = engines_with()
    future = engines.submit(engine_request("a/1", "wait 30"))

    assert until(lambda: engines.count_output_tokens("a/1")) > 0
    engines.cancel("a/1")
    assert future.result(10).finish_reason is FinishReason.ABORTED
    assert engines.count_output_tokens("a/1") == 0


def test_cancelled_page_frees_its_slot(engines_with):
    engines = engines_with()
    engines.submit(engine_request("a/1", "wait 600"))
    next_page = engines.submit(engine_request("b/1", "say next"))
    until(lambda: engines.count_output_tokens("a/1"))

    engines.cancel("a/1")

    assert next_page.result(10).text == "next"


def test_page_cancelled_before_its_turn_is_never_read(engines_with):
    engines = engines_with()
    running = engines.submit(engine_request("a/1", "wait 0.3"))
    waiting = engines.submit(engine_request("a/2", "die"))

    engines.cancel("a/2")

    assert waiting.result(10).finish_reason is FinishReason.ABORTED
    assert running.result(10).finish_reason is FinishReason.STOP
    assert running.result().num_attempts == 1


def test_page_is_read_again_after_its_process_died(engines_with):
    engines = engines_with()
    future = engines.submit(engine_request("a/1", "wait 1"))
    until(lambda: engines.count_output_tokens("a/1"))

    os.kill(engines.pids[0], signal.SIGKILL)

    output = future.result(20)
    assert output.finish_reason is FinishReason.STOP
    assert output.num_attempts == 2


def test_page_that_kills_two_processes_fails_alone(engines_with):
    engines = engines_with(max_sequences=4)
    before = engines.submit(engine_request("a/1", "wait 0.2"))
    deadly = engines.submit(engine_request("b/1", "die"))
    after = [engines.submit(engine_request(f"c/{n}", "say fine")) for n in range(6)]

    assert get_error_code(deadly) == "engine_failed"
    assert deadly.result().num_attempts == 2
    assert [page.result(30).error for page in [before, *after]] == [None] * 7


def test_engine_that_raises_is_replaced(engines_with):
    engines = engines_with()

    failed = engines.submit(engine_request("a/1", "raise CUDA error"))

    assert get_error_code(failed) == "engine_failed"
    assert engines.submit(engine_request("b/1", "say hello")).result(10).text == "hello"


def test_process_without_progress_is_replaced(engines_with):
    engines = engines_with(stall_seconds=1.0)
    pid = engines.pids[0]

    failed = engines.submit(engine_request("a/1", "hang")).result(30)

    assert failed.error is not None
    assert "made no progress" in failed.error.detail
    assert is_gone(pid)


def test_idle_process_is_not_replaced():
    now = [0.0]
    engines = EngineProcesses(
        EngineSettings(stall_seconds=60),
        start_child=start_scripted_child,
        clock=lambda: now[0],
    )
    engines.start()
    pids = engines.pids

    now[0] = 1000.0

    assert engines.submit(engine_request("a/1", "say hello")).result(10).text == "hello"
    assert engines.pids == pids
    engines.close()


def test_pages_of_two_documents_take_turns(engines_with):
    engines = engines_with()
    long_document = [
        engines.submit(engine_request(f"a/{n}", "wait 0.1")) for n in range(8)
    ]

    short = engines.submit(engine_request("b/1", "say short"))

    short.result(10)
    assert sum(future.done() for future in long_document) <= 2


def test_each_accelerator_has_a_process_with_pages(engines_with):
    engines = engines_with(model_revision="3")
    names = [f"a/{n}" for n in range(3)]
    for name in names:
        engines.submit(engine_request(name, "wait 600"))

    assert len(engines.pids) == 3
    assert engines.max_pages_in_flight == 3
    until(lambda: all(engines.count_output_tokens(name) for name in names))


def test_second_accelerator_continues_after_a_death(engines_with):
    engines = engines_with(model_revision="2")
    deadly = engines.submit(engine_request("a/1", "die"))
    others = [engines.submit(engine_request(f"b/{n}", "wait 0.1")) for n in range(6)]

    assert all(f.result(20).error is None for f in others)
    assert deadly.result(20).error is not None


def test_first_failed_load_is_reported_and_not_repeated():
    starts = []

    def count_start(settings, index):
        starts.append(index)
        return start_scripted_child(settings, index)

    engines = EngineProcesses(
        EngineSettings(model_id="unloadable"), start_child=count_start
    )

    with pytest.raises(ModelLoadError, match="no such model"):
        engines.start()

    until(lambda: engines.health is Health.FAILED)
    engines.close()
    assert starts == [0]


def test_os_error_at_start_counts_as_failed_start():
    starts = []

    def start_once(settings, index):
        starts.append(index)
        if len(starts) > 1:
            raise OSError("no more processes")
        return start_scripted_child(settings, index)

    engines = EngineProcesses(
        EngineSettings(max_failed_starts=2),
        start_child=start_once,
        sleep=lambda seconds: None,
    )
    engines.start()

    failed = engines.submit(engine_request("a/1", "die"))

    assert get_error_code(failed) == "engine_unavailable"
    engines.wait_until_failed()
    engines.close()


@pytest.mark.slow
def test_last_of_three_processes_reads_all_pages():
    starts = []

    def start_last_only(settings, index):
        starts.append(index)
        dead = starts.count(index) > 1 and index < 2
        return start_scripted_child(
            EngineSettings(model_id="mortal" if dead else None, model_revision="3"),
            index,
        )

    engines = EngineProcesses(
        EngineSettings(max_failed_starts=1),
        start_child=start_last_only,
        sleep=lambda seconds: None,
    )
    engines.start()
    pids = engines.pids
    futures = [engines.submit(engine_request(f"a/{n}", "wait 2")) for n in range(3)]
    until(lambda: all(engines.count_output_tokens(f"a/{n}") for n in range(3)))
    os.kill(pids[0], signal.SIGKILL)
    os.kill(pids[1], signal.SIGKILL)

    assert [get_error_code(future) for future in futures] == [None] * 3
    assert engines.max_pages_in_flight == 1
    engines.close()


def test_death_during_the_load_is_reported():
    engines = EngineProcesses(
        EngineSettings(model_id="mortal"), start_child=start_scripted_child
    )

    with pytest.raises(ModelLoadError, match="SIGKILL"):
        engines.start()

    engines.close()


def test_pages_fail_if_no_engine_can_be_restarted():
    starts = []

    def start_once(settings, index):
        starts.append(index)
        model_id = None if len(starts) == 1 else "mortal"
        return start_scripted_child(EngineSettings(model_id=model_id), index)

    engines = EngineProcesses(
        EngineSettings(max_failed_starts=2),
        start_child=start_once,
        sleep=lambda seconds: None,
    )
    engines.start()
    held = engines.submit(engine_request("a/1", "die"))
    waiting = engines.submit(engine_request("b/1", "say hello"))

    assert get_error_code(held) == "engine_unavailable"
    assert get_error_code(waiting) == "engine_unavailable"
    assert engines.health is Health.FAILED
    assert get_error_code(engines.submit(engine_request("c/1"))) == "engine_unavailable"
    assert len(starts) == 3
    engines.close()


def test_health_is_restarting_during_a_restart(engines_with):
    engines = engines_with()
    assert engines.health is Health.READY

    os.kill(engines.pids[0], signal.SIGKILL)

    until(lambda: engines.health is Health.RESTARTING)
    until(lambda: engines.health is Health.READY)


def test_close_ends_all_processes_and_pages(engines_with):
    engines = engines_with()
    pids = engines.pids
    futures = [engines.submit(engine_request(f"a/{n}", "wait 600")) for n in range(3)]

    engines.close()

    assert all(f.result(5).finish_reason is FinishReason.ABORTED for f in futures)
    assert all(map(is_gone, pids))


def test_process_ends_when_its_worker_ends():
    child = start_scripted_child(EngineSettings(), 0)
    child.connection.recv()

    child.close()

    assert is_gone(child.pid)
