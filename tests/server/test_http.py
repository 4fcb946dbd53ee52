"""What is no request of ours is told so in our form, and costs nobody else anything."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from tests import documents
from tests.server import raw
from tests.waiting import until

PNG = "image/png"
PAGE = documents.as_png(documents.text_page(["A page"]))
LONG = documents.pdf([[f"Page {n}"] for n in range(200)])
LENGTH = b"Content-Length: %d" % len(PAGE)
CHUNKED = b"Transfer-Encoding: chunked"
IN_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE)
CLOSE = b"Connection: close"
ALLOWED = {"/ping": b"GET, HEAD", "/execution-parameters": b"GET"}


def problem(answer: bytes) -> dict[str, Any]:
    """The one problem that was answered, whole and in the form of all problems."""
    lines, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(
        line.split(b": ", 1) for line in lines.lower().splitlines()[1:] if line
    )
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"content-length"] == b"%d" % len(body)
    said: dict[str, Any] = json.loads(body)
    assert set(said) == {"type", "title", "status", "detail", "code", "request_id"}
    assert lines.split()[1] == b"%d" % said["status"]
    assert headers[b"x-request-id"].decode() == said["request_id"]
    return said


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\0\1\2 garbage\r\n\r\n",
        b"GET /ping\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        raw.head(LENGTH, version=b"HTTP/9.9") + PAGE,
        raw.head(LENGTH, b"no colon") + PAGE,
        raw.head(LENGTH, b"X: a\0b") + PAGE,
        raw.head(LENGTH, b"X: " + bytes(100_000).replace(b"\0", b"a")) + PAGE,
        raw.head(LENGTH, path=b"/invocations?" + b"a=1&" * 2000) + PAGE,
        raw.head(LENGTH, path=b"/invocations?pages=%zz") + PAGE,
        raw.head(LENGTH, b"Content-Length: 5") + PAGE,
        raw.head(b"Content-Length: -5") + PAGE,
        raw.head(b"Content-Length: five") + PAGE,
        raw.head(b"Content-Length: 1" + b"0" * 30) + PAGE,
        raw.head(LENGTH, b"Expect: the best") + PAGE,
        raw.head(LENGTH, CHUNKED, version=b"HTTP/1.0") + IN_CHUNKS,
        raw.head(b"Transfer-Encoding: xchunked") + PAGE,
        raw.head(b"Transfer-Encoding: gzip, chunked") + IN_CHUNKS,
        raw.head(CHUNKED) + b"zz\r\nhello\r\n0\r\n\r\n",
        raw.head(CHUNKED) + b"-5\r\nhello\r\n0\r\n\r\n",
        raw.head(CHUNKED) + b"ffffffffffff\r\nhello\r\n0\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:60]),
)
def test_what_is_no_http_is_answered_and_closed(client, request_bytes):
    said = problem(raw.exchange(client, request_bytes))

    assert (said["status"], said["code"]) == (400, "bad_request")
    until(lambda: client.server.num_open() == 0)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/", 404, "not_found"),
        ("POST", "//invocations", 404, "not_found"),
        ("POST", "/invocations/../ping", 404, "not_found"),
        ("POST", "/predictions/another", 404, "not_found"),
        ("POST", "/predictions/chandra/7.0", 404, "not_found"),
        # TorchServe would read a document there, past all that is counted here.
        ("POST", "/explanations/chandra", 404, "not_found"),
        ("POST", "/v1/models/chandra:predict", 404, "not_found"),
        ("GET", "/models", 404, "not_found"),
        ("GET", "/api-description", 404, "not_found"),
        ("GET", "/invocations", 405, "method_not_allowed"),
        ("PUT", "/invocations", 405, "method_not_allowed"),
        # Of these TorchServe keeps the document, and never answers.
        ("TRACE", "/invocations", 405, "method_not_allowed"),
        ("WHATEVER", "/predictions/chandra", 405, "method_not_allowed"),
        ("POST", "/ping", 405, "method_not_allowed"),
        ("OPTIONS", "/ping", 405, "method_not_allowed"),
        ("POST", "/execution-parameters", 405, "method_not_allowed"),
    ],
)
def test_another_address_or_method_is_told_so(client, method, path, status, code):
    sent = raw.head(LENGTH, CLOSE, method=method.encode(), path=path.encode())

    answer = raw.exchange(client, sent + PAGE)

    said = problem(answer)
    assert (said["status"], said["code"]) == (status, code)
    if status == 405:
        allowed = ALLOWED.get(path, b"POST")
        assert b"\r\nallow: %s\r\n" % allowed in answer
    until(lambda: client.server.num_open() == 0)


def test_a_body_that_is_announced_too_large_is_refused_with_the_limit(client):
    with raw.announced(client, 200_000_000) as connection:
        said = problem(connection.recv(4096))

    assert (said["status"], said["code"]) == (413, "document_too_large")
    assert "146,800,640 bytes" in said["detail"]


def test_a_body_that_turns_out_too_large_is_refused_with_the_limit(client):
    chunk = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
    with raw.connected(client) as connection:
        connection.sendall(raw.head(CHUNKED))
        for _ in range(141):
            connection.sendall(chunk)
        said = problem(connection.recv(4096))

    assert (said["status"], said["code"]) == (413, "document_too_large")
    until(lambda: client.server.num_open() == 0)


def test_answers_come_in_the_order_of_the_requests(client):
    """TorchServe would answer the ping first, and the client take it for the page."""
    ahead = raw.head(LENGTH) + PAGE + raw.PING + raw.head(LENGTH, CLOSE) + PAGE

    answers = raw.exchange(client, ahead).split(b"HTTP/1.1 ")[1:]

    assert [answer[:3] for answer in answers] == [b"200"] * 3
    bodies = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in answers]
    assert [body["status"] for body in bodies] == ["success", "ready", "success"]
    assert bodies[0]["request_id"] != bodies[2]["request_id"]


def test_a_thousand_requests_sent_ahead_are_answered(client):
    last = raw.PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    answers = raw.exchange(client, raw.PING * 999 + last)

    assert answers.count(b"HTTP/1.1 200 OK") == 1000


@pytest.mark.parametrize("headers", [(CLOSE,), ()], ids=["close", "HTTP/1.0"])
def test_the_connection_ends_with_the_answer_where_the_client_says_so(client, headers):
    version = b"HTTP/1.1" if headers else b"HTTP/1.0"

    answer = raw.exchange(client, raw.head(LENGTH, *headers, version=version) + PAGE)

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_nothing_behind_a_body_in_chunks_is_taken_for_a_request(client):
    """Where it ends is what attacks by way of a proxy lie about."""
    odd = IN_CHUNKS.replace(b"\r\n", b";a=b\r\n", 1)

    answer = raw.exchange(client, raw.head(CHUNKED) + odd + raw.PING)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.slow
def test_a_body_that_stands_still_is_given_up_with_the_room_it_took(own_server):
    with (
        own_server(
            CHANDRA_CPU_THREADS="1", overrides={"chandra_stall_seconds": "1"}
        ) as client,
        raw.announced(client, 140_000_000) as first,
        raw.announced(client, 140_000_000) as second,
        raw.announced(client, 140_000_000) as third,
    ):
        # Nothing is there of them, and no fourth is let in until they are given up.
        said = [problem(sender.recv(4096)) for sender in (first, second, third)]
        for sender in (first, second, third):
            assert sender.recv(4096) == b""
            sender.close()
        until(lambda: client.server.num_open() == 0)
        large = client.post(PAGE + bytes(100_000_000), PNG, max_output_tokens=5)

    assert {(each["status"], each["code"]) for each in said} == {(400, "bad_request")}
    assert large.status_code == 200


@pytest.mark.slow
def test_a_connection_is_closed_once_it_has_been_idle_for_long(own_server):
    half = len(PAGE) // 2
    with (
        own_server(
            CHANDRA_CPU_THREADS="1", overrides={"chandra_idle_seconds": "1"}
        ) as client,
        raw.connected(client) as slow,
        raw.connected(client) as patient,
    ):
        slow.sendall(raw.head(LENGTH, CLOSE) + PAGE[:half])
        patient.sendall(
            raw.head(
                b"Content-Length: %d" % len(LONG),
                path=b"/invocations?deadline_seconds=6",
                content_type=b"application/pdf",
            )
            + LONG
        )
        for said in (b"", b"POST /invo", raw.PING):
            with raw.connected(client) as idle:
                idle.sendall(said)
                answer = b""
                while part := idle.recv(4096):
                    answer += part
            assert answer.startswith(b"HTTP/1.1 200" if said == raw.PING else b"")
        # By now, the others are older than any that is idle may be.
        slow.sendall(PAGE[half:])

        assert slow.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert patient.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_body_where_none_belongs_counts_as_one(own_server):
    with (
        own_server(
            CHANDRA_CPU_THREADS="1", overrides={"chandra_body_budget_mb": "20"}
        ) as client,
        raw.announced(client, 4_000_000, b"GET", b"/ping") as first,
        raw.connected(client) as late,
    ):
        # It has been seen when the answer to a question after it is there.
        until(lambda: client.server.ping() == 200)
        # As much again is reserved ahead; each body counts four times.
        first.sendall(bytes(2_000_000))
        late.sendall(raw.head(b"Content-Length: 4000000") + bytes(2_000_000))
        said = problem(late.recv(4096))
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(1)

    assert (said["status"], said["code"]) == (503, "overloaded")


def test_curl_that_says_nothing_of_the_type_is_understood(client):
    """`curl --data-binary @page.png` declares a form."""
    answer = client.post(PAGE, "application/x-www-form-urlencoded")

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b"--\r\n\r\n----"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\n1\r\n--b--"),
        ("multipart/form-data; boundary=b", b"\0\1\2"),
    ],
)
def test_a_form_that_is_none_is_a_bad_request(client, content_type, body):
    answer = client.post(body, content_type)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("content_type", ["multipart", "urlencoded"])
def test_a_form_of_a_million_fields_keeps_nobody_waiting(client, content_type):
    """TorchServe's own decoder was busy with such for a minute, and /ping with it."""
    if content_type == "multipart":
        content_type = "multipart/form-data; boundary=b"
        field = b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\n\r\n'
        body = b"".join(field % number for number in range(200_000)) + b"--b--\r\n"
    else:
        content_type = "application/x-www-form-urlencoded"
        body = b"a=1&" * 1_000_000
    started = time.monotonic()

    answer = client.post(body, content_type)

    assert answer.status_code in (400, 415)
    assert time.monotonic() - started < 20
    assert client.server.ping() == 200


def test_three_hundred_connections_that_say_little_leave_room_for_a_page(client):
    connections = [raw.connected(client) for _ in range(300)]
    try:
        for connection in connections:
            connection.sendall(b"POST /invo")
        started = time.monotonic()
        assert httpx.get(f"{client.server.address}/ping").status_code == 200
        assert time.monotonic() - started < 2
        assert client.post(PAGE, PNG).status_code == 200
    finally:
        for connection in connections:
            connection.close()
