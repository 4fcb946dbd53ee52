"""Requests in TorchServe's queue, which the worker has not seen yet."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from server.archive import configure_archive
from tests import documents
from tests.marks import needs_the_plugin
from tests.server import raw
from tests.server.conftest import run_server
from tests.server.test_http import parse_problem
from tests.server.toy import post_unchecked, toy_request_body, toy_server, toy_store
from tests.waiting import until

__all__ = ["toy_server", "toy_store"]

PNG, PDF = "image/png", "application/pdf"
PAGE = documents.as_png(documents.text_page(["A page"]))
LONG_PDF = documents.pdf([[f"Page {n}"] for n in range(200)])

pytestmark = needs_the_plugin


@pytest.fixture
def single_request_server(model_store, tmp_path):
    """Client of a server whose worker gets one request at a time."""
    configure_archive(model_store / "chandra.mar", tmp_path, {"batchSize": 1})
    with run_server(tmp_path, {"CHANDRA_CPU_THREADS": "1"}) as client:
        yield client


def test_queued_requests_are_answered_while_the_server_drains(single_request_server):
    client = single_request_server
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(client.post, LONG_PDF, PDF, deadline_seconds=3)
        until(lambda: client.server.read_state().get("open") == "1")
        queued = [
            threads.submit(client.post, PAGE, PNG, max_output_tokens=5)
            for _ in range(3)
        ]
        until(lambda: client.server.count_open_requests() == 4)

        client.server.drain(60)
        until(lambda: client.server.read_state().get("drains") == "yes")
        late_answer = client.post(PAGE, PNG)

        assert [future.result().status_code for future in queued] == [200] * 3
        assert first.result().status_code in (200, 504)
        assert late_answer.json()["code"] == "engine_unavailable"


def test_time_in_the_queue_counts_towards_the_deadline(single_request_server):
    client = single_request_server
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(client.post, LONG_PDF, PDF, deadline_seconds=4)
        until(lambda: client.server.read_state().get("open") == "1")
        late_requests = [
            threads.submit(client.post, LONG_PDF, PDF, deadline_seconds=2)
            for _ in range(2)
        ]
        patient_request = threads.submit(client.post, PAGE, PNG, max_output_tokens=5)
        answers = [future.result() for future in late_requests]

        assert first.result().status_code in (200, 504)
        assert patient_request.result().status_code == 200
    assert {answer.status_code for answer in answers} == {504}
    assert {answer.json()["code"] for answer in answers} == {"deadline_exceeded"}
    until(lambda: len(client.lines.find_events("request")) == 4)
    lines = client.lines.find_events("request")
    for line in lines[1:]:
        # Late requests have no pages, and every line has the time in the queue.
        assert line["pages"] == (1 if line["status"] == 200 else 0)
        assert 2 < line["queue_seconds"] <= line["seconds"]


def test_an_arrival_that_a_client_sends_is_overwritten(client):
    forged = {"x-chandra-arrival": str(time.monotonic_ns() - 3600 * 10**9)}

    answer = client.post(PAGE, PNG, headers=forged)

    assert answer.json()["processing_time"] < 60


@pytest.mark.slow
def test_a_full_queue_is_overloaded(toy_server):
    with (
        toy_server(batchSize=1, jobQueueSize=1) as client,
        ThreadPoolExecutor(6) as threads,
    ):
        slow = toy_request_body(seconds=3)
        futures = [threads.submit(post_unchecked, client, slow) for _ in range(6)]
        answers = [future.result() for future in futures]

        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(refused) == 4
        for answer in refused:
            assert answer.json()["code"] == "overloaded"
            assert answer.headers["retry-after"] == "10"


def test_a_full_queue_without_a_worker_is_unavailable(toy_server):
    with (
        toy_server(batchSize=1, jobQueueSize=1) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        os.kill(client.server.query_worker_pid(), signal.SIGKILL)
        until(lambda: client.server.ping() != 200)

        futures = [
            threads.submit(post_unchecked, client, toy_request_body(seconds=0))
            for _ in range(4)
        ]
        answers = [future.result() for future in futures]

        refused = [answer for answer in answers if answer.status_code != 200]
        assert refused
        for answer in refused:
            assert answer.json()["code"] == "engine_unavailable"
            assert answer.headers["retry-after"] == "10"
        assert any("no worker is running" in answer.text for answer in refused)


def test_a_second_attributes_header_is_a_bad_request(client):
    attributes = b"X-Amzn-SageMaker-Custom-Attributes: "
    length = b"Content-Length: %d" % len(PAGE)
    head = raw.request_head(length, attributes + b"pages=1", attributes + b"label=a")

    details = parse_problem(raw.exchange(client, head + PAGE))

    assert (details["status"], details["code"]) == (400, "bad_request")
    assert "X-Amzn-SageMaker-Custom-Attributes once" in details["detail"]


@pytest.mark.slow
def test_repeated_refusals_are_logged_and_counted(toy_server):
    def num_lines(text: str) -> int:
        return sum(text in line for line in client.lines)

    def has_counted(window: int) -> bool:
        return num_lines("request refused, ") > window

    ports = ("inference", "management", "metrics", "inference")
    with toy_server({"chandra_log_window_seconds": "2"}) as client:
        # The log window restarts each time, so each port gets lines of its own.
        for window, port in enumerate(ports):
            address = client.server.properties[f"{port}_address"]
            for _ in range(10):
                raw.exchange_with(address, b"garbage\r\n\r\n")

            until(partial(has_counted, window))

        assert num_lines("request refused, 5 more in 2 s: ") == len(ports)
        assert num_lines("request refused: ") == 5 * len(ports)
