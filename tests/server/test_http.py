"""Malformed and unusual HTTP requests: they get problem details and harm no others."""

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
LONG_PDF = documents.pdf([[f"Page {n}"] for n in range(200)])
LENGTH = b"Content-Length: %d" % len(PAGE)
CHUNKED = b"Transfer-Encoding: chunked"
IN_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE)
CLOSE = b"Connection: close"
ALLOWED = {"/ping": b"GET, HEAD", "/execution-parameters": b"GET"}


def parse_problem(answer: bytes) -> dict[str, Any]:
    """Return the problem details of a raw response, after checks of its form."""
    lines, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(
        line.split(b": ", 1) for line in lines.lower().splitlines()[1:] if line
    )
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"content-length"] == b"%d" % len(body)
    parsed: dict[str, Any] = json.loads(body)
    assert set(parsed) == {"type", "title", "status", "detail", "code", "request_id"}
    assert lines.split()[1] == b"%d" % parsed["status"]
    assert headers[b"x-request-id"].decode() == parsed["request_id"]
    return parsed


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\0\1\2 garbage\r\n\r\n",
        b"GET /ping\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        raw.request_head(LENGTH, version=b"HTTP/9.9") + PAGE,
        raw.request_head(LENGTH, b"no colon") + PAGE,
        raw.request_head(LENGTH, b"X: a\0b") + PAGE,
        raw.request_head(LENGTH, b"X: " + bytes(100_000).replace(b"\0", b"a")) + PAGE,
        raw.request_head(LENGTH, path=b"/invocations?" + b"a=1&" * 2000) + PAGE,
        raw.request_head(LENGTH, path=b"/invocations?pages=%zz") + PAGE,
        raw.request_head(LENGTH, b"Content-Length: 5") + PAGE,
        raw.request_head(b"Content-Length: -5") + PAGE,
        raw.request_head(b"Content-Length: five") + PAGE,
        raw.request_head(b"Content-Length: 1" + b"0" * 30) + PAGE,
        raw.request_head(LENGTH, b"Expect: the best") + PAGE,
        raw.request_head(LENGTH, CHUNKED, version=b"HTTP/1.0") + IN_CHUNKS,
        raw.request_head(b"Transfer-Encoding: xchunked") + PAGE,
        raw.request_head(b"Transfer-Encoding: gzip, chunked") + IN_CHUNKS,
        raw.request_head(CHUNKED) + b"zz\r\nhello\r\n0\r\n\r\n",
        raw.request_head(CHUNKED) + b"-5\r\nhello\r\n0\r\n\r\n",
        raw.request_head(CHUNKED) + b"ffffffffffff\r\nhello\r\n0\r\n\r\n",
    ],
    ids=lambda head: repr(head[:60]),
)
def test_malformed_http_is_answered_with_400_and_closed(client, request_bytes):
    details = parse_problem(raw.exchange(client, request_bytes))

    assert (details["status"], details["code"]) == (400, "bad_request")
    until(lambda: client.server.count_open_requests() == 0)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/", 404, "not_found"),
        ("POST", "//invocations", 404, "not_found"),
        ("POST", "/invocations/../ping", 404, "not_found"),
        ("POST", "/predictions/another", 404, "not_found"),
        ("POST", "/predictions/chandra/7.0", 404, "not_found"),
        # TorchServe would read a document there without our admission control.
        ("POST", "/explanations/chandra", 404, "not_found"),
        ("POST", "/v1/models/chandra:predict", 404, "not_found"),
        ("GET", "/models", 404, "not_found"),
        ("GET", "/api-description", 404, "not_found"),
        ("GET", "/invocations", 405, "method_not_allowed"),
        ("PUT", "/invocations", 405, "method_not_allowed"),
        # TorchServe would keep the body of such a request and never answer.
        ("TRACE", "/invocations", 405, "method_not_allowed"),
        ("UNKNOWN", "/predictions/chandra", 405, "method_not_allowed"),
        ("POST", "/ping", 405, "method_not_allowed"),
        ("OPTIONS", "/ping", 405, "method_not_allowed"),
        ("POST", "/execution-parameters", 405, "method_not_allowed"),
    ],
)
def test_unknown_path_is_404_and_wrong_method_is_405(
    client, method, path, status, code
):
    head = raw.request_head(LENGTH, CLOSE, method=method.encode(), path=path.encode())

    answer = raw.exchange(client, head + PAGE)

    details = parse_problem(answer)
    assert (details["status"], details["code"]) == (status, code)
    if status == 405:
        allowed = ALLOWED.get(path, b"POST")
        assert b"\r\nallow: %s\r\n" % allowed in answer
    until(lambda: client.server.count_open_requests() == 0)


def test_content_length_over_the_limit_is_refused(client):
    with raw.announce_body(client, 200_000_000) as connection:
        details = parse_problem(connection.recv(4096))

    assert (details["status"], details["code"]) == (413, "document_too_large")
    assert "146,800,640 bytes" in details["detail"]


def test_chunked_body_over_the_limit_is_refused(client):
    chunk = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
    with raw.connect(client) as connection:
        connection.sendall(raw.request_head(CHUNKED))
        for _ in range(141):
            connection.sendall(chunk)
        details = parse_problem(connection.recv(4096))

    assert (details["status"], details["code"]) == (413, "document_too_large")
    until(lambda: client.server.count_open_requests() == 0)


def test_pipelined_requests_are_answered_in_order(client):
    """TorchServe alone would answer the ping first, as if it were the page's answer."""
    pipelined = (
        raw.request_head(LENGTH)
        + PAGE
        + raw.PING
        + raw.request_head(LENGTH, CLOSE)
        + PAGE
    )

    answers = raw.exchange(client, pipelined).split(b"HTTP/1.1 ")[1:]

    assert [answer[:3] for answer in answers] == [b"200"] * 3
    bodies = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in answers]
    assert [body["status"] for body in bodies] == ["success", "ready", "success"]
    assert bodies[0]["request_id"] != bodies[2]["request_id"]


def test_a_thousand_pipelined_requests_are_answered(client):
    last = raw.PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    answers = raw.exchange(client, raw.PING * 999 + last)

    assert answers.count(b"HTTP/1.1 200 OK") == 1000


@pytest.mark.parametrize("headers", [(CLOSE,), ()], ids=["close", "HTTP/1.0"])
def test_connection_is_closed_if_the_client_asks_for_it(client, headers):
    version = b"HTTP/1.1" if headers else b"HTTP/1.0"

    answer = raw.exchange(
        client, raw.request_head(LENGTH, *headers, version=version) + PAGE
    )

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_bytes_after_a_chunked_body_are_not_a_request(client):
    """Request smuggling through a proxy relies on an ambiguous end of the body."""
    chunked_with_extension = IN_CHUNKS.replace(b"\r\n", b";a=b\r\n", 1)

    answer = raw.exchange(
        client, raw.request_head(CHUNKED) + chunked_with_extension + raw.PING
    )

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.slow
def test_stalled_upload_is_refused_and_its_memory_released(start_server):
    with (
        start_server(
            CHANDRA_CPU_THREADS="1", overrides={"chandra_stall_seconds": "1"}
        ) as client,
        raw.announce_body(client, 140_000_000) as first,
        raw.announce_body(client, 140_000_000) as second,
        raw.announce_body(client, 140_000_000) as third,
    ):
        # The three uploads reserve the whole budget until they are refused.
        details = [
            parse_problem(sender.recv(4096)) for sender in (first, second, third)
        ]
        for sender in (first, second, third):
            assert sender.recv(4096) == b""
            sender.close()
        until(lambda: client.server.count_open_requests() == 0)
        large = client.post(PAGE + bytes(100_000_000), PNG, max_output_tokens=5)

    assert {(problem["status"], problem["code"]) for problem in details} == {
        (400, "bad_request")
    }
    assert large.status_code == 200


@pytest.mark.slow
def test_idle_connection_is_closed(start_server):
    half = len(PAGE) // 2
    with (
        start_server(
            CHANDRA_CPU_THREADS="1", overrides={"chandra_idle_seconds": "1"}
        ) as client,
        raw.connect(client) as slow,
        raw.connect(client) as patient,
    ):
        slow.sendall(raw.request_head(LENGTH, CLOSE) + PAGE[:half])
        patient.sendall(
            raw.request_head(
                b"Content-Length: %d" % len(LONG_PDF),
                path=b"/invocations?deadline_seconds=6",
                content_type=b"application/pdf",
            )
            + LONG_PDF
        )
        for head in (b"", b"POST /invo", raw.PING):
            with raw.connect(client) as idle:
                idle.sendall(head)
                answer = b""
                while part := idle.recv(4096):
                    answer += part
            assert answer.startswith(b"HTTP/1.1 200" if head == raw.PING else b"")
        # The other two connections are now older than the idle timeout.
        slow.sendall(PAGE[half:])

        assert slow.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert patient.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_unexpected_body_counts_against_the_budget(start_server):
    with (
        start_server(
            CHANDRA_CPU_THREADS="1", overrides={"chandra_body_budget_mb": "20"}
        ) as client,
        raw.announce_body(client, 4_000_000, b"GET", b"/ping") as first,
        raw.connect(client) as late,
    ):
        # The server has seen the announced body once it answers a later request.
        until(lambda: client.server.ping() == 200)
        # The server reserves as much again ahead, and counts each body four times.
        first.sendall(bytes(2_000_000))
        late.sendall(raw.request_head(b"Content-Length: 4000000") + bytes(2_000_000))
        details = parse_problem(late.recv(4096))
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(1)

    assert (details["status"], details["code"]) == (503, "overloaded")


def test_default_content_type_of_curl_is_accepted(client):
    """`curl --data-binary @page.png` declares a form as its content type."""
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
def test_malformed_form_is_a_bad_request(client, content_type, body):
    answer = client.post(body, content_type)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("content_type", ["multipart", "urlencoded"])
def test_form_of_a_million_fields_does_not_block_the_server(client, content_type):
    """TorchServe's own form decoder would block, and /ping with it, for a minute."""
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


def test_300_incomplete_requests_do_not_block_the_server(client):
    connections = [raw.connect(client) for _ in range(300)]
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
