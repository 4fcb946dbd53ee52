"""Requests are answered even if their worker process exits."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.marks import needs_the_plugin
from tests.server.conftest import Client
from tests.server.processes import is_alive
from tests.server.toy import post_unchecked, toy_request_body, toy_server, toy_store
from tests.server.toy_handler import CALL_SECONDS
from tests.waiting import until

__all__ = ["toy_server", "toy_store"]

pytestmark = needs_the_plugin

ANSWER_SECONDS = 60


@contextlib.contextmanager
def stopped_java(client: Client) -> Iterator[None]:
    """Suspend Java, so that it reads all events at once when it resumes."""
    java = psutil.Process(client.server.pid)
    java.suspend()
    try:
        yield
    finally:
        java.resume()


def kill_process(pid: int) -> None:
    """Kill a process, and wait until it has ended."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid))


def kill_workers(client: Client) -> None:
    """Kill the worker processes, whether or not they have loaded a model."""
    for child in psutil.Process(client.server.pid).children():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if "model_service_worker" in " ".join(child.cmdline()):
                kill_process(child.pid)


def kill_worker(client: Client) -> None:
    kill_process(client.server.query_worker_pid())


def kill_worker_between_calls(client: Client) -> None:
    """Let the worker answer a call, and kill it before Java reads the answer.

    Java then reads the answer and the end of the connection one after the other, and
    is about to call the worker again when it notices that the worker has exited.
    """
    worker = client.server.query_worker_pid()
    with stopped_java(client):
        time.sleep(5 * CALL_SECONDS)
        kill_process(worker)


def test_worker_killed_between_calls_answers_its_requests(toy_server):
    with toy_server() as client, ThreadPoolExecutor(3) as threads:
        slow = toy_request_body(seconds=60)
        futures = [threads.submit(post_unchecked, client, slow) for _ in range(3)]
        until(lambda: client.server.read_state().get("open") == "3")

        kill_worker_between_calls(client)

        answers = [future.result(ANSWER_SECONDS) for future in futures]
        assert [answer.status_code for answer in answers] == [503] * 3
        assert {answer.json()["code"] for answer in answers} == {"engine_unavailable"}
        assert {answer.headers["retry-after"] for answer in answers} == {"10"}
        until(lambda: client.server.count_open_requests() == 0)
        assert post_unchecked(client, toy_request_body()).status_code == 200


@pytest.mark.parametrize("kill", [kill_worker, kill_worker_between_calls])
def test_stream_ends_incomplete_if_its_worker_is_killed(toy_server, kill):
    with toy_server() as client:
        stream_body = toy_request_body(bytes=100_000, seconds=60)
        with httpx.stream(
            "POST",
            f"{client.server.address}/invocations",
            content=stream_body,
            headers={
                "Content-Type": "application/octet-stream",
                "Accept": "application/x-ndjson",
            },
            timeout=ANSWER_SECONDS,
        ) as stream:
            parts = stream.iter_bytes()
            assert next(parts)

            kill(client)

            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                list(parts)


def test_queue_is_answered_if_no_worker_can_be_started(toy_server):
    """The second request waits in the queue, because the worker takes one at a time."""
    retry_window = {"batchSize": 1, "maxRetryTimeoutInSec": 3}
    with toy_server(**retry_window) as client, ThreadPoolExecutor(2) as threads:
        slow = toy_request_body(seconds=60)
        threads.submit(post_unchecked, client, slow)
        until(lambda: client.server.read_state().get("open") == "1")
        waiting = threads.submit(post_unchecked, client, slow)
        until(lambda: client.server.count_open_requests() == 2)

        deadline = time.monotonic() + ANSWER_SECONDS
        while not waiting.done() and time.monotonic() < deadline:
            kill_workers(client)
            time.sleep(0.1)

        answer = waiting.result(0)
        assert answer.status_code == 503
        assert answer.json()["code"] == "engine_unavailable"
        assert any("answered 1 requests in the queue" in line for line in client.lines)


@pytest.mark.slow
def test_request_that_meets_a_dying_worker_is_answered(toy_server):
    """Java receives the requests and the end of the worker's connection together.

    Which comes first is up to its threads, so this is repeated. The requests are given
    to the next process.
    """
    with toy_server() as client, ThreadPoolExecutor(3) as threads:
        for _ in range(8):
            until(client.server.is_ready)
            worker = client.server.query_worker_pid()
            with stopped_java(client):
                futures = [
                    threads.submit(post_unchecked, client, toy_request_body())
                    for _ in range(3)
                ]
                time.sleep(0.5)
                kill_process(worker)

            answers = [future.result(ANSWER_SECONDS) for future in futures]

            assert {answer.status_code for answer in answers} <= {200, 503}


@pytest.mark.slow
def test_late_reply_of_a_replaced_worker_is_discarded(toy_server):
    """Java is stopped for longer than `responseTimeout`, and the worker replies then.

    Whether Java takes the reply or gives up first is up to its threads, so this is
    repeated. A kept reply lets the next process run without a model.
    """
    with toy_server(responseTimeout=2) as client, ThreadPoolExecutor(1) as threads:
        large = toy_request_body(seconds=1, bytes=131_072)
        for _ in range(10):
            until(client.server.is_ready)
            future = threads.submit(post_unchecked, client, large)
            until(lambda: client.server.read_state().get("open") == "1")

            with stopped_java(client):
                time.sleep(3)

            assert future.result(ANSWER_SECONDS).status_code in (200, 503)
        assert not any("service is not loaded" in line for line in client.lines)
