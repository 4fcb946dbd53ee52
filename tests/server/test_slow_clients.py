"""Clients that send or read slowly or not at all, and their effect on others."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.marks import needs_the_plugin
from tests.server import raw
from tests.server.toy import post_unchecked, toy_request_body, toy_server, toy_store
from tests.waiting import until

__all__ = ["toy_server", "toy_store"]

MIB = 1 << 20
NDJSON = b"Accept: application/x-ndjson"
SMALL = toy_request_body(bytes=0)

pytestmark = needs_the_plugin


@contextmanager
def send_slowly(senders: list[socket.socket], pause: float) -> Iterator[None]:
    """Send some bytes on each connection repeatedly, until the server closes it."""
    is_over = threading.Event()

    def send() -> None:
        left = set(senders)
        while not is_over.wait(pause):
            for sender in tuple(left):
                try:
                    sender.sendall(b"x" * 100)
                except OSError:
                    left.remove(sender)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_slow_uploads_are_refused_and_block_no_others(toy_server):
    with (
        toy_server({"chandra_stall_seconds": "3"}) as client,
        ExitStack() as stack,
    ):
        senders = [
            stack.enter_context(raw.announce_body(client, 140 * MIB)) for _ in range(6)
        ]
        with send_slowly(senders, pause=0.2):
            until(lambda: client.server.count_open_requests() == 6)
            answers = [post_unchecked(client, SMALL).status_code for _ in range(5)]
            large = post_unchecked(client, SMALL + b" " * 40 * MIB)
            was_open = client.server.count_open_requests()

            refused = [sender.recv(4096) for sender in senders]

        assert answers == [200] * 5
        assert large.status_code == 200
        assert was_open == 6
        for answer in refused:
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b'"the upload stalled: ' in answer


def test_two_hundred_idle_uploads_block_no_others(toy_server):
    page = SMALL + b" " * 8 * MIB
    with toy_server() as client, ExitStack() as stack:
        senders = [
            stack.enter_context(raw.announce_body(client, 140 * MIB))
            for _ in range(200)
        ]
        for sender in senders:
            sender.sendall(b"x" * 100)
        until(lambda: client.server.count_open_requests() == 200)

        answer = post_unchecked(client, page)

        assert answer.status_code == 200
        until(lambda: client.server.count_open_requests() == 200)


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upload_that_is_slow_but_steady_is_read(toy_server, framing):
    body = SMALL + b" " * (300_000 - len(SMALL))
    with (
        toy_server({"chandra_stall_seconds": "1"}) as client,
        raw.connect(client) as sender,
    ):
        if framing == "length":
            sender.sendall(raw.request_head(b"Content-Length: %d" % len(body)))
        else:
            sender.sendall(raw.request_head(b"Transfer-Encoding: chunked"))
        # In total, this takes four times as long as an upload may stall.
        for start in range(0, len(body), 15_000):
            part = body[start : start + 15_000]
            is_chunk = framing == "chunked"
            sender.sendall(b"%x\r\n%s\r\n" % (len(part), part) if is_chunk else part)
            time.sleep(0.2)
        if framing == "chunked":
            sender.sendall(b"0\r\n\r\n")

        assert sender.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_an_upload_must_send_1_300_of_its_length_a_second(toy_server):
    body = SMALL + b" " * (3_000_000 - len(SMALL))
    with (
        toy_server({"chandra_stall_seconds": "2"}) as client,
        raw.announce_body(client, len(body)) as steady,
        raw.announce_body(client, len(body)) as slow,
    ):
        rates = {steady: len(body) / 200, slow: len(body) / 500}
        num_sent = dict.fromkeys(rates, 0)
        started_at = time.monotonic()
        # More than two stall timeouts.
        while (seconds := time.monotonic() - started_at) < 5:
            for sender, rate in rates.items():
                num_due = int(seconds * rate)
                sender.sendall(body[num_sent[sender] : num_due])
                num_sent[sender] = num_due
            time.sleep(0.05)
        steady.sendall(body[num_sent[steady] :])

        assert steady.recv(4096).startswith(b"HTTP/1.1 200 ")
        answer = slow.recv(4096)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"the upload stalled: ' in answer


@pytest.mark.slow
def test_the_newest_upload_makes_room_for_older_ones(toy_server):
    """Together they exceed the budget. The server must not refuse all of them."""
    body = SMALL + b" " * (12 * MIB - len(SMALL))
    half = len(body) // 2
    with (
        toy_server({"chandra_body_budget_mb": "60"}) as client,
        ExitStack() as stack,
    ):
        oldest = stack.enter_context(raw.announce_body(client, len(body)))
        until(lambda: client.server.count_open_requests() == 1)
        newest = stack.enter_context(raw.announce_body(client, len(body)))
        until(lambda: client.server.count_open_requests() == 2)
        oldest.sendall(body[:half])
        newest.sendall(body[: 2 * MIB])
        # Once a small body no longer fits, both uploads have reserved their memory.
        small_body = SMALL + b" " * 2 * MIB
        until(lambda: post_unchecked(client, small_body).status_code == 503)
        oldest.sendall(body[half:])

        assert oldest.recv(4096).startswith(b"HTTP/1.1 200 ")
        answer = newest.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code": "overloaded"' in answer
        # The upload's memory is free before its connection is closed.
        assert post_unchecked(client, body).status_code == 200


def test_a_client_that_does_not_read_is_disconnected_alone(toy_server):
    num_bytes = 24 * MIB
    request = toy_request_body(bytes=num_bytes)
    with (
        toy_server(
            {
                "chandra_stall_seconds": "4",
                # The heap and the direct memory are both smaller than the answers.
                "vmargs": "-Xmx500m -XX:MaxDirectMemorySize=160m "
                "-XX:+UseParallelGC -XX:+ExitOnOutOfMemoryError",
                "chandra_body_budget_mb": "300",
            }
        ) as client,
        ExitStack() as stack,
    ):
        java = psutil.Process(client.server.pid)
        worker = client.server.query_worker_pid()
        length = b"Content-Length: %d" % len(request)
        for accept in [NDJSON] * 18 + [b"Accept: text/plain"] * 6:
            reader = stack.enter_context(raw.connect(client))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(raw.request_head(length, accept) + request)
        until(lambda: client.server.count_open_requests() > 18)

        answers = [post_unchecked(client, SMALL)]
        while client.server.count_open_requests():
            answers.append(post_unchecked(client, SMALL))

        assert {answer.status_code for answer in answers} == {200}
        assert max(answer.elapsed.total_seconds() for answer in answers) < 3
        assert java.is_running()
        assert client.server.query_worker_pid() == worker


@pytest.mark.slow
@pytest.mark.parametrize("accept", [NDJSON, b"Accept: text/plain"])
def test_a_client_that_reads_slowly_gets_the_whole_answer(toy_server, accept):
    num_bytes = 8 * MIB
    request = toy_request_body(bytes=num_bytes)
    with (
        toy_server({"chandra_stall_seconds": "1"}) as client,
        raw.connect(client) as reader,
    ):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        length = b"Content-Length: %d" % len(request)
        reader.sendall(raw.request_head(length, accept, b"Connection: close") + request)

        received = 0
        # In total, this takes longer than a client may read nothing.
        while part := reader.recv(256 * 1024):
            received += len(part)
            time.sleep(0.05)

    assert received > num_bytes * 0.99


@pytest.mark.slow
def test_a_partly_read_answer_keeps_all_of_its_memory(toy_server):
    """Reading a part of an answer does not free the array that holds all of it."""
    num_bytes = 24 * MIB
    request = toy_request_body(bytes=num_bytes)
    length = b"Content-Length: %d" % len(request)
    with (
        # Answers may take 25 MiB for long, and 50 MiB for five seconds.
        toy_server({"chandra_body_budget_mb": "100"}) as client,
        ExitStack() as stack,
    ):
        for _ in range(3):
            reader = stack.enter_context(raw.connect(client))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            reader.sendall(raw.request_head(length, b"Accept: text/plain") + request)
            received = 0
            # The unread rest is below the limit, and partly in the kernel's buffers.
            while received < 16 * MIB:
                received += len(reader.recv(65536))

        until(lambda: client.server.count_open_requests() == 1, 15)

        assert post_unchecked(client, SMALL).status_code == 200


@pytest.mark.slow
def test_a_client_that_reads_too_slowly_is_closed(toy_server):
    num_bytes = 90 * MIB
    request = toy_request_body(bytes=num_bytes)
    length = b"Content-Length: %d" % len(request)
    with (
        toy_server({"chandra_stall_seconds": "8"}) as client,
        raw.connect(client) as reader,
    ):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        reader.sendall(raw.request_head(length, b"Accept: text/plain") + request)
        num_read = len(reader.recv(4096))
        started_at = time.monotonic()

        # Read 1/400 of the answer per second: too slow, but more than 8 KiB per
        # stall timeout.
        while (
            client.server.count_open_requests() and time.monotonic() < started_at + 40
        ):
            if num_read < (time.monotonic() - started_at) * num_bytes / 400:
                num_read += len(reader.recv(65536))
            time.sleep(0.02)

        assert client.server.count_open_requests() == 0
        assert num_read < num_bytes / 10
