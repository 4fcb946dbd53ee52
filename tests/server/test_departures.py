"""Clients that disconnect before their answer, whose documents are cancelled."""

from __future__ import annotations

import json
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from typing import Any

import psutil
import pytest

from tests import documents
from tests.server import raw
from tests.server.processes import find_engine_pid
from tests.waiting import until

PNG, PDF = "image/png", "application/pdf"
PAGE = documents.as_png(documents.text_page(["A page"]))
NUM_LARGEST_PAGES = 400
LARGEST_PDF = documents.pdf([[f"Page {n}"] for n in range(NUM_LARGEST_PAGES)])
NUM_LONG_PAGES = 40
LONG_PDF = documents.pdf([[f"Page {n}"] for n in range(NUM_LONG_PAGES)])
SHORT_PDF = documents.pdf([[f"Page {n}"] for n in range(3)])


def make_request(
    document: bytes, *headers: bytes, version: bytes = b"HTTP/1.1"
) -> bytes:
    """Return a request that posts a document."""
    length = b"Content-Length: %d" % len(document)
    content_type = b"application/octet-stream"
    return (
        raw.request_head(length, *headers, version=version, content_type=content_type)
        + document
    )


def has_open_request(client) -> bool:
    """Return True if the worker has an open request."""
    return bool(client.server.read_state().get("open") != "0")


def find_departures(client) -> list[dict[str, Any]]:
    """Return the log lines of requests whose clients have disconnected."""
    lines = client.lines.find_events("request")
    return [line for line in lines if line["code"] == "client_gone"]


@pytest.fixture
def wait_for_departure(client):
    """Function that waits for the log line of this test's disconnected request."""
    until(lambda: not has_open_request(client))
    before = len(find_departures(client))

    def wait() -> dict[str, Any]:
        until(lambda: len(find_departures(client)) > before)
        [line] = find_departures(client)[before:]
        return line

    return wait


def assert_idle(client) -> None:
    """Check that the engine becomes idle.

    Without the cancellation, it would read pages for more than a minute.
    """
    until(
        lambda: (
            not has_open_request(client) and client.server.count_open_requests() == 0
        )
    )
    engine = psutil.Process(find_engine_pid(client.server.query_worker_pid()))
    until(lambda: engine.cpu_percent(0.5) < 50, 5)


@pytest.mark.parametrize("accept", [b"application/json", b"application/x-ndjson"])
def test_document_of_a_disconnected_client_is_cancelled(
    client, wait_for_departure, accept
):
    with raw.connect(client) as connection:
        connection.sendall(make_request(LARGEST_PDF, b"Accept: " + accept))
        until(lambda: has_open_request(client))

    line = wait_for_departure()

    assert line["status"] == 499
    assert line["pages"] < NUM_LARGEST_PAGES / 2
    assert_idle(client)
    assert client.post(PAGE, PNG).status_code == 200


def test_stream_of_a_disconnected_client_is_cancelled(client, wait_for_departure):
    with raw.connect(client) as connection:
        connection.sendall(make_request(LARGEST_PDF, b"Accept: application/x-ndjson"))
        received = b""
        while b'"page":1' not in received:
            received += connection.recv(65536)

    line = wait_for_departure()

    assert line["status"] == 499
    assert 0 < line["pages"] < NUM_LARGEST_PAGES / 2
    assert_idle(client)


def test_cancellation_file_is_removed_after_the_request(client, wait_for_departure):
    cancellations = client.server.scratch / "state" / "gone"
    before = set(cancellations.iterdir()) if cancellations.exists() else set()
    with raw.connect(client) as connection:
        connection.sendall(make_request(LARGEST_PDF))
        until(lambda: has_open_request(client))

    [name] = until(lambda: set(cancellations.iterdir()) - before)

    assert wait_for_departure()["request_id"] == name.name
    until(lambda: not name.exists())


def test_reset_connection_cancels_its_document(client, wait_for_departure):
    with raw.connect(client) as connection:
        connection.sendall(make_request(LARGEST_PDF))
        until(lambda: has_open_request(client))
        reset_on_close = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)

    assert wait_for_departure()["status"] == 499
    assert_idle(client)


@pytest.mark.slow
def test_disconnect_does_not_affect_other_requests(client, wait_for_departure):
    expected = client.post(SHORT_PDF, PDF).json()["raw"]
    with ThreadPoolExecutor(4) as threads:
        with raw.connect(client) as connection:
            connection.sendall(make_request(LARGEST_PDF))
            until(lambda: has_open_request(client))
            other_requests = [
                threads.submit(client.post, SHORT_PDF, PDF) for _ in range(4)
            ]
        answers = [other.result() for other in other_requests]

    assert [answer.json()["raw"] for answer in answers] == [expected] * 4
    assert wait_for_departure()["status"] == 499


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_half_closed_connection_gets_the_answer(client, version):
    """The server can tell it from a disconnected client only by writing to it."""
    with raw.connect(client) as connection:
        connection.sendall(make_request(SHORT_PDF, version=version))
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part

    *interim, answer = received.split(b"HTTP/1.1 ")[1:]
    assert set(interim) <= ({b"100 Continue\r\n\r\n"} if b"1.1" in version else set())
    assert answer.startswith(b"200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == "success"


@pytest.mark.slow
def test_half_closed_connection_gets_the_whole_stream(client):
    """Probes that the server sends between pages do not disturb the stream."""
    long_deadline = b"X-Amzn-SageMaker-Custom-Attributes: deadline_seconds=300"
    with raw.connect(client) as connection:
        connection.sendall(
            make_request(LONG_PDF, b"Accept: application/x-ndjson", long_deadline)
        )
        response = HTTPResponse(connection)
        response.begin()
        first = response.readline()
        connection.shutdown(socket.SHUT_WR)
        lines = [json.loads(line) for line in (first, *response.read().splitlines())]

    events = ["page"] * NUM_LONG_PAGES + ["end"]
    assert [line["event"] for line in lines] == events


def test_close_after_half_close_cancels_the_document(client, wait_for_departure):
    with raw.connect(client) as connection:
        connection.sendall(make_request(LARGEST_PDF))
        until(lambda: has_open_request(client))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"

    assert wait_for_departure()["status"] == 499
    assert_idle(client)


def test_disconnect_cancels_the_running_pipelined_request(client, wait_for_departure):
    assert_idle(client)
    num_before = len(client.lines.find_events("request"))
    with raw.connect(client) as connection:
        connection.sendall(make_request(PAGE))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        # The second request is queued behind the running one, and is cancelled too.
        connection.sendall(make_request(LARGEST_PDF) + make_request(PAGE))
        until(lambda: has_open_request(client))
        # The first is logged soon after its answer.
        until(lambda: len(client.lines.find_events("request")) > num_before)

    line = wait_for_departure()

    assert line["received_bytes"] == len(LARGEST_PDF)
    assert_idle(client)
    assert len(client.lines.find_events("request")) == num_before + 2


def test_disconnect_after_the_answer_cancels_nothing(client):
    num_departures = len(find_departures(client))
    with raw.connect(client) as connection:
        connection.sendall(make_request(PAGE))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")

    assert client.post(PAGE, PNG).status_code == 200
    assert len(find_departures(client)) == num_departures


@pytest.mark.slow
def test_memory_of_a_cancelled_document_is_released(start_server):
    with start_server(
        CHANDRA_CPU_THREADS="1", overrides={"chandra_body_budget_mb": "1"}
    ) as client:
        large = PAGE + bytes(300_000)
        with raw.connect(client) as connection:
            # A document over the budget is accepted if it is the only one.
            connection.sendall(make_request(LARGEST_PDF))
            until(lambda: has_open_request(client))
            assert client.post(large, PNG).json()["code"] == "overloaded"
        until(lambda: find_departures(client))

        until(lambda: client.post(large, PNG).status_code == 200, 5)
