"""Whose client leaves before it is answered is not read to its end."""

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
from tests.server.processes import engine_pid
from tests.waiting import until

PNG, PDF = "image/png", "application/pdf"
PAGE = documents.as_png(documents.text_page(["A page"]))
NUM_ENDLESS = 400
ENDLESS = documents.pdf([[f"Page {n}"] for n in range(NUM_ENDLESS)])
NUM_LONG = 40
LONG = documents.pdf([[f"Page {n}"] for n in range(NUM_LONG)])
SHORT = documents.pdf([[f"Page {n}"] for n in range(3)])


def sent(document: bytes, *headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    """A request for a document, as bytes."""
    length = b"Content-Length: %d" % len(document)
    anything = b"application/octet-stream"
    return raw.head(length, *headers, version=version, content_type=anything) + document


def is_open(client) -> bool:
    """Whether the worker has something to read."""
    return bool(client.server.state().get("open") != "0")


def departures(client) -> list[dict[str, Any]]:
    """The lines of the log for those that have left."""
    lines = client.lines.events("request")
    return [line for line in lines if line["code"] == "client_gone"]


@pytest.fixture
def departure(client):
    """The one line of the log that the test will have caused, once it is there."""
    until(lambda: not is_open(client))
    before = len(departures(client))

    def wait() -> dict[str, Any]:
        until(lambda: len(departures(client)) > before)
        [line] = departures(client)[before:]
        return line

    return wait


def assert_idle(client) -> None:
    """The engine reads nothing once its running step has ended.

    All of the pages would keep it busy for more than a minute.
    """
    until(lambda: not is_open(client) and client.server.num_open() == 0)
    engine = psutil.Process(engine_pid(client.server.worker_pid()))
    until(lambda: engine.cpu_percent(0.5) < 50, 5)


@pytest.mark.parametrize("accept", [b"application/json", b"application/x-ndjson"])
def test_a_document_nobody_waits_for_is_not_read_to_its_end(client, departure, accept):
    with raw.connected(client) as connection:
        connection.sendall(sent(ENDLESS, b"Accept: " + accept))
        until(lambda: is_open(client))

    line = departure()

    assert line["status"] == 499
    assert line["pages"] < NUM_ENDLESS / 2
    assert_idle(client)
    assert client.post(PAGE, PNG).status_code == 200


def test_a_stream_that_has_begun_is_not_read_to_its_end(client, departure):
    with raw.connected(client) as connection:
        connection.sendall(sent(ENDLESS, b"Accept: application/x-ndjson"))
        received = b""
        while b'"page":1' not in received:
            received += connection.recv(65536)

    line = departure()

    assert line["status"] == 499
    assert 0 < line["pages"] < NUM_ENDLESS / 2
    assert_idle(client)


def test_the_worker_is_told_only_until_torchserve_has_let_go(client, departure):
    told = client.server.scratch / "state" / "gone"
    before = set(told.iterdir()) if told.exists() else set()
    with raw.connected(client) as connection:
        connection.sendall(sent(ENDLESS))
        until(lambda: is_open(client))

    [name] = until(lambda: set(told.iterdir()) - before)

    assert departure()["request_id"] == name.name
    until(lambda: not name.exists())


def test_a_connection_that_is_reset_has_been_left_too(client, departure):
    with raw.connected(client) as connection:
        connection.sendall(sent(ENDLESS))
        until(lambda: is_open(client))
        at_once = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)

    assert departure()["status"] == 499
    assert_idle(client)


@pytest.mark.slow
def test_others_are_answered_as_if_nobody_had_left(client, departure):
    alone = client.post(SHORT, PDF).json()["raw"]
    with ThreadPoolExecutor(4) as threads:
        with raw.connected(client) as connection:
            connection.sendall(sent(ENDLESS))
            until(lambda: is_open(client))
            others = [threads.submit(client.post, SHORT, PDF) for _ in range(4)]
        answers = [other.result() for other in others]

    assert [answer.json()["raw"] for answer in answers] == [alone] * 4
    assert departure()["status"] == 499


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_who_only_sends_no_more_gets_the_answer(client, version):
    """It looks as if it had left, until it is written to."""
    with raw.connected(client) as connection:
        connection.sendall(sent(SHORT, version=version))
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part

    *interim, answer = received.split(b"HTTP/1.1 ")[1:]
    assert set(interim) <= ({b"100 Continue\r\n\r\n"} if b"1.1" in version else set())
    assert answer.startswith(b"200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == "success"


@pytest.mark.slow
def test_a_stream_goes_on_for_who_only_sends_no_more(client):
    """And is whole, whatever was sent between its pages to see who is there."""
    patience = b"X-Amzn-SageMaker-Custom-Attributes: deadline_seconds=300"
    with raw.connected(client) as connection:
        connection.sendall(sent(LONG, b"Accept: application/x-ndjson", patience))
        response = HTTPResponse(connection)
        response.begin()
        first = response.readline()
        connection.shutdown(socket.SHUT_WR)
        lines = [json.loads(line) for line in (first, *response.read().splitlines())]

    events = ["page"] * NUM_LONG + ["end"]
    assert [line["event"] for line in lines] == events


def test_who_leaves_after_having_sent_no_more_has_left(client, departure):
    with raw.connected(client) as connection:
        connection.sendall(sent(ENDLESS))
        until(lambda: is_open(client))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"

    assert departure()["status"] == 499
    assert_idle(client)


def test_of_a_connections_requests_the_one_that_is_read_is_cancelled(client, departure):
    assert_idle(client)
    num_before = len(client.lines.events("request"))
    with raw.connected(client) as connection:
        connection.sendall(sent(PAGE))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        # And one behind it, which is nobody's any more either.
        connection.sendall(sent(ENDLESS) + sent(PAGE))
        until(lambda: is_open(client))
        # The first is logged soon after its answer.
        until(lambda: len(client.lines.events("request")) > num_before)

    line = departure()

    assert line["received_bytes"] == len(ENDLESS)
    assert_idle(client)
    assert len(client.lines.events("request")) == num_before + 2


def test_who_leaves_after_the_answer_cancels_nothing(client):
    num_left = len(departures(client))
    with raw.connected(client) as connection:
        connection.sendall(sent(PAGE))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")

    assert client.post(PAGE, PNG).status_code == 200
    assert len(departures(client)) == num_left


@pytest.mark.slow
def test_the_room_of_a_document_nobody_waits_for_is_given_back(own_server):
    with own_server(
        CHANDRA_CPU_THREADS="1", overrides={"chandra_body_budget_mb": "1"}
    ) as client:
        large = PAGE + bytes(300_000)
        with raw.connected(client) as connection:
            # Alone, it is let in; nothing is beside it.
            connection.sendall(sent(ENDLESS))
            until(lambda: is_open(client))
            assert client.post(large, PNG).json()["code"] == "overloaded"
        until(lambda: departures(client))

        until(lambda: client.post(large, PNG).status_code == 200, 5)
