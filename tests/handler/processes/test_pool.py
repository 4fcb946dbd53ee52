"""Calls in a pool that return, raise, crash, hang or exceed their memory."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread

import pytest

from handler.errors import UnreadableDocumentError
from handler.processes.child import Child
from handler.processes.pool import (
    CallCrashedError,
    CallTimeoutError,
    OutOfTimeError,
    Pool,
    PoolBusyError,
)
from handler.sandbox.wire import WireError
from tests.handler.processes import called
from tests.handler.processes.called import (
    SECONDS,
    add,
    allocate,
    exit_with_status,
    keep_process_busy,
    kill_myself,
    raise_other_error,
    raise_unreadable,
)
from tests.waiting import until

MODULES = [called.__name__]


def echo_until_closed(connection: Connection, greeting: str) -> None:
    connection.send((greeting, os.getpid()))
    while True:
        connection.send(connection.recv())


def sleep_without_receiving(connection: Connection) -> None:
    connection.send("asleep")
    time.sleep(600)


def run_a_pool(connection: Connection) -> None:
    """Start a pool, send the id of its process, and wait."""
    pool = Pool(1)
    connection.send(pool.call(SECONDS, os.getpid))
    connection.recv()


def has_ended(pid: int) -> bool:
    """Return whether a process has ended, even if its status was not collected."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture(scope="module")
def pool():
    """Pool that all tests share, because calls must not affect each other."""
    pool = Pool(2, modules=MODULES)
    yield pool
    pool.close()


@pytest.fixture
def single_process_pool():
    pool = Pool(1, modules=MODULES)
    yield pool
    pool.close()


@pytest.fixture
def start_child():
    """Function that starts children, which are ended after the test."""
    children: list[Child] = []

    def start(target, *args) -> Child:
        children.append(Child(target, *args))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.close()


def test_a_call_returns_what_its_function_returns(pool):
    assert pool.call(SECONDS, add, 1, 2, third=3) == 6


def test_a_call_runs_in_another_process(pool):
    assert pool.call(SECONDS, os.getpid) != os.getpid()


def test_successive_calls_run_in_the_same_process(pool):
    assert pool.call(SECONDS, os.getpid) == pool.call(SECONDS, os.getpid)


@pytest.mark.parametrize(("policy", "count"), [(None, "5000"), ("ACTIVE", None)])
def test_child_limits_spinning_unless_environment_sets_it(monkeypatch, policy, count):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    pool = Pool(1)

    try:
        assert pool.call(SECONDS, os.getenv, "GOMP_SPINCOUNT") == count
    finally:
        pool.close()


def test_handler_error_is_raised_unchanged(pool):
    with pytest.raises(UnreadableDocumentError, match=r"^page 3 ends early$") as caught:
        pool.call(SECONDS, raise_unreadable)

    assert type(caught.value) is UnreadableDocumentError


def test_process_survives_an_exception(single_process_pool):
    pid = single_process_pool.call(SECONDS, os.getpid)

    with pytest.raises(RuntimeError, match=r"^ZeroDivisionError"):
        single_process_pool.call(SECONDS, divmod, 1, 0)

    assert single_process_pool.call(SECONDS, os.getpid) == pid


def test_process_survives_unsendable_arguments(single_process_pool):
    pid = single_process_pool.call(SECONDS, os.getpid)

    with pytest.raises(WireError, match="expected a 64-bit int, not function"):
        single_process_pool.call(SECONDS, add, lambda: 1, 2)

    assert single_process_pool.call(SECONDS, os.getpid) == pid


def test_calls_after_a_crash_succeed(pool):
    with pytest.raises(CallCrashedError, match="SIGKILL"):
        pool.call(SECONDS, kill_myself)

    assert [pool.call(SECONDS, add, n, n) for n in range(4)] == [0, 2, 4, 6]


def test_error_of_an_exited_process_has_its_status(pool):
    with pytest.raises(CallCrashedError, match="ended with status 7"):
        pool.call(SECONDS, exit_with_status, 7)


def test_other_exception_becomes_a_runtime_error(single_process_pool):
    pid = single_process_pool.call(SECONDS, os.getpid)

    with pytest.raises(RuntimeError, match=r"^FunctionHoldingError\(<function .*>\)$"):
        single_process_pool.call(SECONDS, raise_other_error)

    assert single_process_pool.call(SECONDS, os.getpid) == pid


def test_process_that_died_while_idle_is_replaced(single_process_pool):
    pid = single_process_pool.call(SECONDS, os.getpid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: has_ended(pid))

    assert single_process_pool.call(SECONDS, os.getpid) != pid


def test_a_call_that_takes_too_long_is_ended_with_its_process(single_process_pool):
    pid = single_process_pool.call(SECONDS, os.getpid)

    with pytest.raises(CallTimeoutError, match=r"within 0\.1 s"):
        single_process_pool.call(0.1, time.sleep, 600)

    assert has_ended(pid)
    assert single_process_pool.call(SECONDS, add, 1, 2) == 3


def test_a_call_gets_the_first_process_that_becomes_free(single_process_pool):
    answers: list[int] = []
    with keep_process_busy(single_process_pool):
        second = Thread(
            target=lambda: answers.append(single_process_pool.call(SECONDS, abs, -3))
        )
        second.start()

    second.join()
    assert answers == [3]


def test_a_call_waits_for_a_process_for_its_timeout_at_most(single_process_pool):
    with (
        keep_process_busy(single_process_pool),
        pytest.raises(PoolBusyError, match=r"was free for 0\.1 s"),
    ):
        single_process_pool.call(0.1, abs, -3)

    assert single_process_pool.call(SECONDS, abs, -3) == 3


def test_a_calls_timeout_starts_when_it_gets_a_process(single_process_pool):
    answers: list[None] = []
    with keep_process_busy(single_process_pool):
        second = Thread(
            target=lambda: answers.append(single_process_pool.call(2, time.sleep, 1.2))
        )
        second.start()
        # Waiting and the call together take longer than the timeout.
        second.join(1.2)

    second.join()
    assert answers == [None]


def test_out_of_time_ends_the_wait_for_a_process(single_process_pool):
    with keep_process_busy(single_process_pool), pytest.raises(OutOfTimeError):
        single_process_pool.call_within(0.1, SECONDS, abs, -3)

    assert single_process_pool.call(SECONDS, abs, -3) == 3


def test_out_of_time_ends_the_process_of_the_call(single_process_pool):
    pid = single_process_pool.call(SECONDS, os.getpid)

    with pytest.raises(OutOfTimeError):
        single_process_pool.call_within(0.1, SECONDS, time.sleep, 600)

    assert has_ended(pid)
    assert single_process_pool.call_within(SECONDS, SECONDS, add, 1, 2) == 3


@pytest.mark.parametrize("total_seconds", [0.0, -1.0])
def test_call_without_time_raises_out_of_time(single_process_pool, total_seconds):
    with keep_process_busy(single_process_pool), pytest.raises(OutOfTimeError):
        single_process_pool.call_within(total_seconds, SECONDS, abs, -3)


def test_a_calls_own_limits_apply_before_a_later_deadline(single_process_pool):
    with keep_process_busy(single_process_pool), pytest.raises(PoolBusyError):
        single_process_pool.call_within(SECONDS, 0.1, abs, -3)

    with pytest.raises(CallTimeoutError):
        single_process_pool.call_within(SECONDS, 0.1, time.sleep, 600)


def test_two_calls_run_at_the_same_time(pool):
    with keep_process_busy(pool):
        assert pool.call(SECONDS, add, 1, 2) == 3


def test_only_the_call_that_exceeds_its_memory_fails():
    pool = Pool(1, memory_bytes=1024**3, modules=MODULES)

    with pytest.raises(CallCrashedError):
        pool.call(SECONDS, allocate, 2 * 1024**3)

    assert pool.call(SECONDS, allocate, 1024**2) == 1024**2
    pool.close()


def test_a_process_replaced_after_a_crash_has_the_same_limit():
    pool = Pool(1, memory_bytes=1024**3, modules=MODULES)

    with pytest.raises(CallCrashedError):
        pool.call(SECONDS, kill_myself)

    with pytest.raises(CallCrashedError):
        pool.call(SECONDS, allocate, 2 * 1024**3)
    pool.close()


def test_process_imports_no_heavy_libraries_of_its_parent():
    pool = Pool(1)

    modules = set(pool.call(SECONDS, eval, "list(__import__('sys').modules)"))

    pool.close()
    assert "handler.sandbox.calls" in modules
    assert modules.isdisjoint({"pytest", "torch", "ts", "transformers", "numpy"})


def test_a_closed_pool_leaves_no_process():
    pool = Pool(1)
    pid = pool.call(SECONDS, os.getpid)

    pool.close()

    assert has_ended(pid)


def test_closing_a_pool_kills_running_calls():
    pool = Pool(1, modules=MODULES)
    errors: list[Exception] = []

    with keep_process_busy(pool, errors.append):
        pool.close()
        until(lambda: errors)

    assert [str(error) for error in errors] == ["the process was ended by SIGKILL"]


def test_a_closed_pool_refuses_calls():
    pool = Pool(1)
    pool.close()

    with pytest.raises(CallCrashedError, match=r"^the pool is closed$"):
        pool.call(SECONDS, add, 1, 2)


def test_processes_end_with_a_parent_that_was_killed(start_child):
    worker = start_child(run_a_pool)
    pid = worker.connection.recv()

    worker.kill()

    until(lambda: has_ended(pid))


def test_a_child_gets_arguments_and_a_pipe_in_both_directions(start_child):
    child = start_child(echo_until_closed, "hello")

    assert child.connection.recv() == ("hello", child.pid)
    child.connection.send([1, 2])
    assert child.connection.recv() == [1, 2]


def test_a_child_ends_when_its_pipe_closes(start_child):
    child = start_child(echo_until_closed, "hello")
    child.connection.recv()

    child.close()

    assert has_ended(child.pid)
    assert child.describe_end() == "ended with status 0"


def test_child_that_ignores_its_closed_pipe_is_killed(start_child):
    child = start_child(sleep_without_receiving)
    child.connection.recv()

    child.close(timeout_seconds=0.1)

    assert has_ended(child.pid)
    assert child.describe_end() == "was ended by SIGKILL"


def test_child_ignores_sigint(start_child):
    child = start_child(echo_until_closed, "hello")
    child.connection.recv()

    os.kill(child.pid, signal.SIGINT)

    child.connection.send("still here")
    assert child.connection.recv() == "still here"
