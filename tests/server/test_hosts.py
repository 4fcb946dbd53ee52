"""Host check: on loopback, only loopback names are accepted.

It protects the server from web pages that use DNS rebinding.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from server.host import find_free_ports
from tests import openapi
from tests.server.raw import exchange_with
from tests.waiting import until

APIS = ["inference", "management", "metrics"]
PATHS = {
    "inference": b"/ping",
    "management": b"/models/chandra",
    "metrics": b"/metrics",
}


def send_get(
    client,
    *headers: bytes,
    api: str = "inference",
    target: bytes | None = None,
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """Send a GET to one of the three addresses, and return the raw answer."""
    request_line = b" ".join((b"GET", target or PATHS[api], version))
    request = b"\r\n".join((request_line, *headers, b"Connection: close"))
    address = client.server.properties[f"{api}_address"]
    return exchange_with(address, request + b"\r\n\r\n")


def parse_status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def parse_code(answer: bytes) -> bytes:
    assert b"content-type: application/problem+json" in answer.lower()
    return answer.partition(b'"code": "')[2].partition(b'"')[0]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "host",
    [b"localhost", b"LocalHost:80", b"127.0.0.1:12345", b"127.1.2.3", b"[::1]:8080"],
)
def test_a_loopback_name_is_answered(client, api, host):
    assert parse_status(send_get(client, b"Host: " + host, api=api)) == 200


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"localhost.evil.example:8080", b"127.0.0.1.evil.example"],
)
def test_a_foreign_host_is_refused(client, api, host):
    answer = send_get(client, b"Host: " + host, api=api)

    assert (parse_status(answer), parse_code(answer)) == (403, b"forbidden")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "origin", [b"http://evil.example", b"https://localhost.evil.example", b"null"]
)
def test_a_foreign_origin_is_refused(client, api, origin):
    answer = send_get(client, b"Host: localhost", b"Origin: " + origin, api=api)

    assert (parse_status(answer), parse_code(answer)) == (403, b"forbidden")


def test_request_from_a_localhost_origin_is_answered(client):
    origin = b"Origin: http://localhost:3000"

    assert parse_status(send_get(client, b"Host: localhost", origin)) == 200


def test_post_from_a_foreign_web_page_is_refused(client):
    request = (
        b"POST /invocations HTTP/1.1",
        b"Host: rebound.example:8080",
        b"Origin: http://rebound.example:8080",
        b"Content-Type: text/plain",
        b"Content-Length: 4",
    )

    answer = exchange_with(
        client.server.address, b"\r\n".join(request) + b"\r\n\r\npage"
    )

    assert (parse_status(answer), parse_code(answer)) == (403, b"forbidden")
    openapi.check_reply(
        403, "application/problem+json", answer.partition(b"\r\n\r\n")[2]
    )


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "hosts",
    [
        (),
        (b"Host: localhost", b"Host: localhost"),
        (b"Host:",),
        (b"Host: local host",),
        (b"Host: localhost:http",),
        (b"Host: user@localhost",),
    ],
)
def test_one_valid_host_header_is_needed(client, api, hosts):
    answer = send_get(client, *hosts, api=api)

    assert (parse_status(answer), parse_code(answer)) == (400, b"bad_request")


def test_http_1_0_needs_no_host_header(client):
    assert parse_status(send_get(client, version=b"HTTP/1.0")) == 200


@pytest.mark.parametrize("api", APIS)
def test_an_absolute_target_is_answered_like_its_path(client, api):
    authority = urlsplit(client.server.properties[f"{api}_address"]).netloc.encode()
    target = b"HTTP://" + authority + PATHS[api]

    assert (
        parse_status(send_get(client, b"Host: localhost", api=api, target=target))
        == 200
    )


def test_host_of_an_absolute_target_overrides_the_header(client):
    foreign = b"http://evil.example/ping"
    loopback = b"http://localhost/ping"

    assert parse_status(send_get(client, b"Host: localhost", target=foreign)) == 403
    assert parse_status(send_get(client, b"Host: evil.example", target=loopback)) == 200


@pytest.mark.parametrize("target", [b"http:///ping", b"http://a b/ping", b"http://"])
def test_an_absolute_target_without_a_host_is_refused(client, target):
    assert parse_status(send_get(client, b"Host: localhost", target=target)) == 400


@pytest.mark.slow
def test_a_configured_name_is_answered_and_no_other(start_server):
    names = {"chandra_allowed_hosts": "ocr.example, Box"}
    with start_server(wait=False, overrides=names) as client:
        until(client.server.ping)
        answers = {
            host: parse_status(send_get(client, b"Host: " + host))
            for host in (b"OCR.example:80", b"box", b"localhost", b"evil.example")
        }

    # /ping is 503 while the model is loading.
    assert answers.pop(b"evil.example") == 403
    assert set(answers.values()) <= {200, 503}


@pytest.mark.slow
def test_the_check_can_be_switched_off(start_server):
    with start_server(wait=False, overrides={"chandra_allowed_hosts": "*"}) as client:
        until(client.server.ping)
        answer = send_get(client, b"Host: evil.example", b"Origin: null")

    assert parse_status(answer) in (200, 503)


def test_a_server_for_all_interfaces_answers_to_every_name(start_server):
    port = find_free_ports(1)[0]
    everywhere = {"inference_address": f"http://0.0.0.0:{port}"}
    with start_server(wait=False, overrides=everywhere) as client:
        until(client.server.ping)
        answer = send_get(client, b"Host: ocr.example", b"Origin: https://ocr.example")

    assert parse_status(answer) in (200, 503)
