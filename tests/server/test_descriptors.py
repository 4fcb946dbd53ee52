"""Processes without free file descriptors, which log it once and recover."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest

from tests import documents
from tests.marks import needs_the_plugin
from tests.server.raw import connect
from tests.waiting import until

PNG = "image/png"
PAGE = documents.as_png(documents.text_page(["A page"]))

pytestmark = needs_the_plugin


@contextmanager
def limit_files(pid: int, num_more: int) -> Iterator[None]:
    """Let a process open only `num_more` files beyond those that are open."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    max_files = psutil.Process(pid).num_fds() + num_more
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (max_files, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@pytest.mark.slow
def test_a_frontend_without_descriptors_logs_one_line(start_server):
    with start_server() as client:

        def find_failures() -> list[object]:
            events = client.lines.find_events("torchserve")
            return [e for e in events if "Too many open files" in e["message"]]

        with limit_files(client.server.pid, 10), contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(connect(client))
            until(find_failures)
            before = psutil.Process(client.server.pid).cpu_times()
            # Netty retries once a second.
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{client.server.address}/ping", timeout=3)
            after = psutil.Process(client.server.pid).cpu_times()

        assert len(find_failures()) == 1
        assert after.user + after.system - before.user - before.system < 2
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200
        assert len(find_failures()) == 1


@pytest.mark.slow
def test_a_worker_without_descriptors_logs_once_and_refuses(start_server):
    with start_server() as client:
        worker = client.server.query_worker_pid()
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200

        with limit_files(worker, 0):
            answers = [client.post(PAGE, PNG, max_output_tokens=5) for _ in range(5)]
            state = client.server.read_state()
            # The worker still writes its state.
            assert client.server.ping() == 200

        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["code"] for answer in answers} == {"overloaded"}
        assert state["worker"] == str(worker)
        assert len(client.lines.find_events("out of file descriptors")) == 1
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200
        assert client.server.query_worker_pid() == worker


@pytest.mark.slow
def test_a_document_is_not_blamed_for_missing_decoders(start_server):
    with start_server(CHANDRA_DECODER_PROCESSES="1") as client:
        worker = psutil.Process(client.server.query_worker_pid())
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200
        for child in worker.children():
            if child.pid not in client.server.read_engine_pids():
                child.kill()

        # Enough for a document's file, but not for the pipes of a new decoder.
        with limit_files(worker.pid, 2):
            answers = [client.post(PAGE, PNG, max_output_tokens=5) for _ in range(3)]

        assert {answer.json()["code"] for answer in answers} == {"overloaded"}
        assert len(client.lines.find_events("out of file descriptors")) == 1
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200
