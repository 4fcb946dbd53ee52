"""/ping is 200 while a page could be read now, and only then."""

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
from tests.server.conftest import serving
from tests.server.processes import engine_pid
from tests.server.raw import PING, announced, exchange
from tests.server.toy import toy_server, toy_store
from tests.waiting import until

# Fixtures.
__all__ = ["toy_server", "toy_store"]

PNG, PDF = "image/png", "application/pdf"
PAGE = documents.as_png(documents.text_page(["A page"]))
CLOSE = b"\r\nConnection: close\r\n\r\n"
LONG = documents.pdf([[f"Page {n}"] for n in range(60)])

pytestmark = needs_the_plugin


class Pings:
    """What /ping has answered, asked again and again in the background."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.answers: list[tuple[int, str]] = []
        self.slowest_seconds = 0.0
        self._is_over = False

    def __enter__(self) -> Pings:
        self._threads = ThreadPoolExecutor(1)
        self._threads.submit(self._ask)
        return self

    def __exit__(self, *args: object) -> None:
        self._is_over = True
        self._threads.shutdown()

    def _ask(self) -> None:
        # A connection each; what it takes to make a client is not the server's time.
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

    def has(self, status: int, word: str | None = None) -> bool:
        return any(
            code == status and word in (None, said) for code, said in self.answers
        )


def ping(client) -> tuple[int, str]:
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


def test_it_is_503_while_the_model_is_loaded_and_then_200_for_good(own_server):
    with (
        own_server(CHANDRA_CPU_THREADS="1", wait=False) as client,
        Pings(client.server.address) as pings,
    ):
        client.server.wait_until_ready(120)
        until(lambda: pings.has(200))

    codes = [code for code, _ in pings.answers]
    assert codes[0] == 503
    assert set(codes[codes.index(200) :]) == {200}


def test_it_is_503_while_the_engine_is_started_again(client):
    os.kill(engine_pid(client.server.worker_pid()), signal.SIGKILL)

    until(lambda: ping(client) == (503, "restarting"))
    until(lambda: ping(client) == (200, "ready"), 60)


def test_head_is_answered_as_get_is_but_for_the_body(client):
    head, get = PING.replace(b"GET", b"HEAD"), PING.replace(b"\r\n\r\n", CLOSE)

    answers = exchange(client, head + get).split(b"HTTP/1.1 ")[1:]

    (lines, nothing), (_, body) = (a.split(b"\r\n\r\n") for a in answers)
    assert [answer[:3] for answer in answers] == [b"200"] * 2
    assert nothing == b""
    assert b"\r\ncontent-length: %d" % len(body) in lines.lower()


@pytest.mark.slow
def test_it_is_503_after_the_worker_was_killed_until_another_is_ready(own_server):
    with own_server(CHANDRA_CPU_THREADS="1") as client:
        os.kill(client.server.worker_pid(), signal.SIGKILL)

        until(lambda: ping(client)[0] == 503)
        until(lambda: ping(client) == (200, "ready"), 90)
        assert client.post(PAGE, PNG, max_output_tokens=5).status_code == 200


@pytest.mark.slow
def test_it_is_503_while_the_worker_hangs(own_server):
    with own_server(CHANDRA_CPU_THREADS="1") as client:
        worker = psutil.Process(client.server.worker_pid())

        worker.suspend()
        try:
            until(lambda: ping(client) == (503, "silent"))
        finally:
            worker.resume()

        until(lambda: ping(client) == (200, "ready"))


@pytest.mark.slow
def test_stopped_engine_is_503_until_it_goes_on(own_server):
    document = documents.pdf([[f"Page {n}"] for n in range(10)])
    with (
        own_server(CHANDRA_CPU_THREADS="1") as client,
        ThreadPoolExecutor(1) as threads,
    ):
        [pid] = client.server.engine_pids()
        engine = psutil.Process(pid)
        future = threads.submit(client.post, document, PDF, deadline_seconds=120)
        until(lambda: client.server.state().get("open") == "1")

        engine.suspend()
        try:
            until(lambda: ping(client) == (503, "stalled"), 15)
        finally:
            engine.resume()

        until(lambda: ping(client) == (200, "ready"), 5)
        answer = future.result(120).json()
        assert answer["status"] == "success"
        assert {page["attempts"] for page in answer["pages"]} == {1}
        assert client.server.engine_pids() == [pid]
        assert len(client.lines.events("stall")) == 1
        assert len(client.lines.events("recovery")) == 1


@pytest.mark.slow
def test_it_is_503_for_good_once_nothing_is_started_again(model_store, tmp_path):
    weights = shutil.copytree(MINI, tmp_path / "weights")
    store = tmp_path / "store"
    store.mkdir()
    # So long TorchServe tries again; by itself, five minutes.
    window = {"maxRetryTimeoutInSec": 1}
    configure_archive(model_store / "chandra.mar", store, window)
    environ = {
        "CHANDRA_CPU_THREADS": "1",
        "CHANDRA_MAX_FAILED_STARTS": "1",
        "MODEL_DIR": str(weights),
    }
    with serving(store, environ) as client:
        hidden = weights.rename(tmp_path / "hidden")
        with Pings(client.server.address) as pings:
            os.kill(engine_pid(client.server.worker_pid()), signal.SIGKILL)
            until(lambda: pings.has(503, "no worker"), 60)
            until(lambda: _has_given_up(client), 120)
            num_loads = len(client.lines.events("model not loaded"))
            # Now a worker could be started, and is not.
            hidden.rename(weights)
            refused = client.post(PAGE, PNG)
            num_pings = len(pings.answers)
            until(lambda: len(pings.answers) > num_pings + 100, 60)

        codes = [code for code, _ in pings.answers]
        assert set(codes[codes.index(503) :]) == {503}
        assert len(client.lines.events("model not loaded")) == num_loads
        assert refused.status_code == 503
        assert refused.json()["code"] == "engine_unavailable"


def _has_given_up(client) -> bool:
    """Whether TorchServe has said so: that a start failed again, after its time."""
    return any("Auto recovery failed again" in line for line in client.lines)


@pytest.mark.slow
def test_it_is_503_and_new_requests_are_turned_away_while_the_server_drains(own_server):
    with (
        # One page after the other, so that some are read before the others.
        own_server(
            CHANDRA_CPU_THREADS="1",
            CHANDRA_MAX_SEQUENCES="1",
            CHANDRA_MAX_OUTPUT_TOKENS="10",
        ) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        future = threads.submit(client.post, LONG, PDF)
        until(lambda: client.server.state().get("open") == "1")

        client.server.drain(5)

        until(lambda: ping(client) == (503, "draining"))
        assert httpx.head(f"{client.server.address}/ping").status_code == 503
        refused = client.post(PAGE, PNG)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        # What cannot finish answers the pages that are.
        answer = future.result(30).json()
        assert answer["status"] == "partial_success"
        codes = [page["error"] and page["error"]["code"] for page in answer["pages"]]
        assert codes[0] is None
        assert codes[-1] == "engine_unavailable"
        until(lambda: client.server.state().get("open") == "0")


@pytest.mark.slow
def test_a_drain_waits_for_what_can_be_finished(own_server):
    with (
        own_server(CHANDRA_CPU_THREADS="1") as client,
        ThreadPoolExecutor(1) as threads,
    ):
        future = threads.submit(client.post, PAGE, PNG, max_output_tokens=20)
        until(lambda: client.server.state().get("open") == "1")

        client.server.drain(60)

        assert future.result(30).json()["status"] == "success"


@pytest.mark.slow
def test_a_drain_that_is_told_to_hurry_does(own_server):
    with (
        own_server(CHANDRA_CPU_THREADS="1") as client,
        ThreadPoolExecutor(1) as threads,
    ):
        future = threads.submit(client.post, LONG, PDF)
        until(lambda: client.server.state().get("open") == "1")
        client.server.drain(60)
        started = time.monotonic()

        client.server.drain(0)

        assert future.result(10).status_code in (200, 503)
        assert time.monotonic() - started < 8


@pytest.mark.slow
@pytest.mark.alone
def test_it_is_answered_within_two_seconds_while_everything_is_busy(own_server):
    # As many at once, and as large, as real time takes: more than Java has room for.
    large = PAGE + bytes(25_000_000)
    with (
        own_server(CHANDRA_CPU_THREADS="1") as client,
        Pings(client.server.address) as pings,
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
        # Nobody's memory is lost with it.
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
def test_a_body_there_is_no_memory_for_is_refused_before_it_is_sent(own_server):
    with (
        own_server(
            CHANDRA_CPU_THREADS="1", overrides={"chandra_body_budget_mb": "1"}
        ) as client,
        # The first 64 KiB of each are reserved, four times.
        announced(client, 140_000_000),
        announced(client, 140_000_000),
        announced(client, 140_000_000),
        announced(client, 40_000),
    ):
        until(lambda: client.server.num_open() == 4)
        with announced(client, 140_000_000) as late:
            head = late.recv(4096).decode()
        small = client.post(PAGE, PNG, max_output_tokens=5)

    assert head.startswith("HTTP/1.1 503 ")
    assert "\r\nretry-after: 10\r\n" in head
    assert '"code": "overloaded"' in head
    assert small.status_code == 200


@pytest.mark.slow
def test_a_document_that_is_still_being_sent_when_the_server_drains_is_told(own_server):
    with (
        own_server(CHANDRA_CPU_THREADS="1") as client,
        announced(client, 1_000_000) as sender,
    ):
        sender.sendall(PAGE)
        until(lambda: client.server.num_open() == 1)

        client.server.drain(20)

        # Without another byte of it.
        head = sender.recv(4096).decode()
        assert head.startswith("HTTP/1.1 503 ")
        assert '"code": "engine_unavailable"' in head
        assert client.server.num_open() == 1
        # Whoever sends the rest before listening finds the answer all the same.
        sender.sendall(bytes(1_000_000 - len(PAGE)))
        assert sender.recv(4096) == b""
        until(lambda: client.server.num_open() == 0)


def test_batch_transform_is_told_one_document_at_a_time_and_how_many_at_once(client):
    answer = httpx.get(f"{client.server.address}/execution-parameters")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    parameters = answer.json()
    assert parameters["BatchStrategy"] == "SINGLE_RECORD"
    assert parameters["MaxPayloadInMB"] == 25
    assert 1 <= parameters["MaxConcurrentTransforms"] <= 100 // 25
