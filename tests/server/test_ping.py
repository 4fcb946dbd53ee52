"""/ping, which is 200 only while the server can read a page."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from handler.weights.source import MINI
from server.archive import configure_archive
from tests import documents
from tests.marks import needs_the_plugin
from tests.server.conftest import run_server
from tests.server.processes import find_engine_pid
from tests.server.raw import PING, announce_body, exchange
from tests.server.toy import toy_server, toy_store
from tests.waiting import until

# Fixtures.
__all__ = ["toy_server", "toy_store"]

PNG, PDF = "image/png", "application/pdf"
PAGE = documents.as_png(documents.text_page(["A page"]))
CLOSE = b"\r\nConnection: close\r\n\r\n"
LONG_PDF = documents.pdf([[f"Page {n}"] for n in range(60)])

pytestmark = needs_the_plugin


class BackgroundPings:
    """Background thread that sends /ping repeatedly and keeps the answers.

    `answers` has the status code and the word for the server's status of each answer.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.answers: list[tuple[int, str]] = []
        self.slowest_seconds = 0.0
        self._is_over = False

    def __enter__(self) -> BackgroundPings:
        self._threads = ThreadPoolExecutor(1)
        self._threads.submit(self._send_pings)
        return self

    def __exit__(self, *args: object) -> None:
        self._is_over = True
        self._threads.shutdown()

    def _send_pings(self) -> None:
        # Reuse the client, because creating one takes time that is not the server's.
        with httpx.Client(headers={"Connection": "close"}, timeout=10) as client:
            while not self._is_over:
                started = time.monotonic()
                try:
                    answer = client.get(f"{self._address}/ping")
                except httpx.TransportError:
                    continue  # Java is not there yet, or no longer
                seconds = time.monotonic() - started
                self.slowest_seconds = max(self.slowest_seconds, seconds)
                self.answers.append((answer.status_code, answer.json()["status"]))

    def has_answer(self, status: int, word: str | None = None) -> bool:
        return any(
            code == status and word in (None, answer_word)
            for code, answer_word in self.answers
        )


def read_ping(client) -> tuple[int, str]:
    """Return the status code of /ping, and its word for the server's status."""
    answer = httpx.get(f"{client.server.address}/ping")
    return answer.status_code, answer.json()["status"]


def test_fallbacks_are_empty_on_a_processor(client):
    answer = httpx.get(f"{client.server.address}/ping").json()

    assert (answer["status"], answer["fallbacks"]) == ("ready", [])


@pytest.mark.slow
def test_fallbacks_of_the_engine_are_listed(toy_server):
    with toy_server() as client:
        answer = httpx.get(f"{client.server.address}/ping").json()

    assert answer["fallbacks"] == ["cache_reduced", "cuda_graphs_failed"]


def test_ping_is_503_while_loading_and_then_200(start_server):
    with (
        start_server(CHANDRA_CPU_THREADS="1", wait=False) as client,
        BackgroundPings(client.server.address) as pings,
    ):
        client.server.wait_until_ready(120)
        until(lambda: pings.has_answer(200))

    codes = [code for code, _ in pings.answers]
    assert codes[0] == 503
    assert set(codes[codes.index(200) :]) == {200}


def test_ping_is_503_while_the_engine_restarts(client):
    os.kill(find_engine_pid(client.server.query_worker_pid()), signal.SIGKILL)

    until(lambda: read_ping(client) == (503, "restarting"))
    until(lambda: read_ping(client) == (200, "ready"), 60)


def test_head_is_answered_like_get_without_a_body(client):
    head, get = PING.replace(b"GET", b"HEAD"), PING.replace(b"\r\n\r\n", CLOSE)

    answers = exchange(client, head + get).split(b"HTTP/1.1 ")[1:]

    (lines, nothing), (_, body) = (a.split(b"\r\n\r\n") for a in answers)
    assert [answer[:3] for answer in answers] == [b"200"] * 2
    assert nothing == b""
    assert b"\r\ncontent-length: %d" % len(body) in lines.lower()


@pytest.mark.slow
def test_ping_is_503_until_a_killed_worker_is_replaced(start_server):
    with start_server(CHANDRA_CPU_THREADS="1") as client:
        os.kill(client.server.query_worker_pid(), signal.SIGKILL)

        until(lambda: read_ping(client)[0] == 503)
        until(lambda: read_ping(client) == (200, "ready"), 90)
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200


@pytest.mark.slow
def test_ping_is_503_while_the_worker_hangs(start_server):
    with start_server(CHANDRA_CPU_THREADS="1") as client:
        worker = psutil.Process(client.server.query_worker_pid())

        worker.suspend()
        try:
            until(lambda: read_ping(client) == (503, "silent"))
        finally:
            worker.resume()

        until(lambda: read_ping(client) == (200, "ready"))


@pytest.mark.slow
def test_ping_is_503_while_the_engine_is_stopped(start_server):
    document = documents.pdf([[f"Page {n}"] for n in range(10)])
    with (
        start_server(CHANDRA_CPU_THREADS="1") as client,
        ThreadPoolExecutor(1) as threads,
    ):
        [pid] = client.server.read_engine_pids()
        engine = psutil.Process(pid)
        future = threads.submit(client.post, document, PDF, deadline_seconds=120)
        until(lambda: client.server.read_state().get("open") == "1")

        engine.suspend()
        try:
            until(lambda: read_ping(client) == (503, "stalled"), 15)
        finally:
            engine.resume()

        until(lambda: read_ping(client) == (200, "ready"), 5)
        answer = future.result(120).json()
        assert answer["status"] == "success"
        assert {page["attempts"] for page in answer["pages"]} == {1}
        assert client.server.read_engine_pids() == [pid]
        assert len(client.lines.find_events("stall")) == 1
        assert len(client.lines.find_events("recovery")) == 1


@pytest.mark.slow
def test_ping_stays_503_after_the_last_failed_restart(model_store, tmp_path):
    weights = shutil.copytree(MINI, tmp_path / "weights")
    store = tmp_path / "store"
    store.mkdir()
    # TorchServe retries for this time; the default is five minutes.
    retry_window = {"maxRetryTimeoutInSec": 1}
    configure_archive(model_store / "chandra.mar", store, retry_window)
    environ = {
        "CHANDRA_CPU_THREADS": "1",
        "CHANDRA_MAX_FAILED_STARTS": "1",
        "MODEL_DIR": str(weights),
    }
    with run_server(store, environ) as client:
        hidden = weights.rename(tmp_path / "hidden")
        with BackgroundPings(client.server.address) as pings:
            os.kill(find_engine_pid(client.server.query_worker_pid()), signal.SIGKILL)
            until(lambda: pings.has_answer(503, "no worker"), 60)
            until(lambda: _has_given_up(client), 120)
            num_loads = len(client.lines.find_events("model not loaded"))
            # A worker could start again now, but TorchServe no longer tries.
            hidden.rename(weights)
            refused = client.post(PAGE, PNG)
            num_pings = len(pings.answers)
            until(lambda: len(pings.answers) > num_pings + 100, 60)

        codes = [code for code, _ in pings.answers]
        assert set(codes[codes.index(503) :]) == {503}
        assert len(client.lines.find_events("model not loaded")) == num_loads
        assert refused.status_code == 503
        assert refused.json()["code"] == "engine_unavailable"


def _has_given_up(client) -> bool:
    """Return True if TorchServe has logged that it no longer restarts the worker."""
    return any("Auto recovery failed again" in line for line in client.lines)


@pytest.mark.slow
def test_draining_server_refuses_requests_and_pings_503(start_server):
    with (
        # Read one page after the other, so that the drain finds unfinished pages.
        start_server(
            CHANDRA_CPU_THREADS="1",
            CHANDRA_MAX_SEQUENCES="1",
            CHANDRA_MAX_OUTPUT_TOKENS="10",
        ) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        future = threads.submit(client.post, LONG_PDF, PDF)
        until(lambda: client.server.read_state().get("open") == "1")

        client.server.drain(5)

        until(lambda: read_ping(client) == (503, "draining"))
        assert httpx.head(f"{client.server.address}/ping").status_code == 503
        refused = client.post(PAGE, PNG)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        # A request that cannot finish is answered with its finished pages.
        answer = future.result(30).json()
        assert answer["status"] == "partial_success"
        codes = [page["error"] and page["error"]["code"] for page in answer["pages"]]
        assert codes[0] is None
        assert codes[-1] == "engine_unavailable"
        until(lambda: client.server.read_state().get("open") == "0")


@pytest.mark.slow
def test_drain_waits_for_open_requests(start_server):
    with (
        start_server(CHANDRA_CPU_THREADS="1") as client,
        ThreadPoolExecutor(1) as threads,
    ):
        future = threads.submit(client.post, PAGE, PNG, max_output_tokens=20)
        until(lambda: client.server.read_state().get("open") == "1")

        client.server.drain(60)

        assert future.result(30).json()["status"] == "success"


@pytest.mark.slow
def test_drain_can_be_shortened(start_server):
    with (
        start_server(CHANDRA_CPU_THREADS="1") as client,
        ThreadPoolExecutor(1) as threads,
    ):
        future = threads.submit(client.post, LONG_PDF, PDF)
        until(lambda: client.server.read_state().get("open") == "1")
        client.server.drain(60)
        started = time.monotonic()

        client.server.drain(0)

        assert future.result(10).status_code in (200, 503)
        assert time.monotonic() - started < 8


@pytest.mark.slow
@pytest.mark.alone
def test_ping_takes_under_two_seconds_under_full_load(start_server):
    # The largest concurrency and size of a real-time endpoint exceed Java's memory.
    large = PAGE + bytes(25_000_000)
    with (
        start_server(CHANDRA_CPU_THREADS="1") as client,
        BackgroundPings(client.server.address) as pings,
        ThreadPoolExecutor(32) as threads,
    ):
        answers = list(
            threads.map(
                lambda _: client.post(
                    large, PNG, timeout_seconds=200, max_output_tokens=5
                ),
                range(32),
            )
        )
        # The memory of all refused requests has been released.
        later = client.post(large, PNG, max_output_tokens=5)

    sys.stdout.write(
        f"\nslowest of {len(pings.answers)} pings: {pings.slowest_seconds:.3f} s\n"
    )
    codes = [answer.status_code for answer in answers]
    assert set(codes) <= {200, 503, 504}
    assert 200 in codes
    assert later.status_code == 200
    assert pings.slowest_seconds < 2
    assert len(pings.answers) > 3
    assert {code for code, _ in pings.answers} == {200}


@pytest.mark.slow
def test_body_over_the_budget_is_refused_before_it_is_sent(start_server):
    with (
        start_server(
            CHANDRA_CPU_THREADS="1", overrides={"chandra_body_budget_mb": "1"}
        ) as client,
        # The server reserves four times the first 64 KiB of each body.
        announce_body(client, 140_000_000),
        announce_body(client, 140_000_000),
        announce_body(client, 140_000_000),
        announce_body(client, 40_000),
    ):
        until(lambda: client.server.count_open_requests() == 4)
        with announce_body(client, 140_000_000) as late:
            head = late.recv(4096).decode()
        small = client.post(PAGE, PNG, max_output_tokens=5)

    assert head.startswith("HTTP/1.1 503 ")
    assert "\r\nretry-after: 10\r\n" in head
    assert '"code": "overloaded"' in head
    assert small.status_code == 200


@pytest.mark.slow
def test_upload_during_a_drain_gets_503(start_server):
    with (
        start_server(CHANDRA_CPU_THREADS="1") as client,
        announce_body(client, 1_000_000) as sender,
    ):
        sender.sendall(PAGE)
        until(lambda: client.server.count_open_requests() == 1)

        client.server.drain(20)

        # The answer arrives before any further byte is sent.
        head = sender.recv(4096).decode()
        assert head.startswith("HTTP/1.1 503 ")
        assert '"code": "engine_unavailable"' in head
        assert client.server.count_open_requests() == 1
        # A client that sends the whole body before it reads still gets the answer.
        sender.sendall(bytes(1_000_000 - len(PAGE)))
        assert sender.recv(4096) == b""
        until(lambda: client.server.count_open_requests() == 0)


def test_execution_parameters_for_batch_transform(client):
    answer = httpx.get(f"{client.server.address}/execution-parameters")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    parameters = answer.json()
    assert parameters["BatchStrategy"] == "SINGLE_RECORD"
    assert parameters["MaxPayloadInMB"] == 25
    assert 1 <= parameters["MaxConcurrentTransforms"] <= 100 // 25
