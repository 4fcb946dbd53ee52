"""Requests that are not for us, on to the backend as they came."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

from deploy.emulator.http.wire import BLOCK_BYTES, Answer, Body, Refusal, Request

__all__ = ["forward"]

TIMEOUT_SECONDS = 300
# Of one connection, and not of what it carries.
HOP = {"connection", "keep-alive", "expect", "transfer-encoding", "te", "upgrade"}


def forward(request: Request, url: str, body: bytes | Body | None = None) -> Answer:
    """The backend's answer; `body` in place of the request's, where that was read.

    The Host header stays: it is part of what was signed.
    """
    body = request.body if body is None else body
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "127.0.0.1", parts.port or 80, timeout=TIMEOUT_SECONDS
    )
    length = len(body) if isinstance(body, bytes) else body.length
    try:
        connection.putrequest(
            request.method, request.target, skip_host=True, skip_accept_encoding=True
        )
        for name, value in request.headers:
            if name.lower() not in HOP and name.lower() != "content-length":
                connection.putheader(name, value)
        if length is None:
            connection.putheader("Transfer-Encoding", "chunked")
        elif length or request.header("Content-Length") is not None:
            connection.putheader("Content-Length", str(length))
        connection.endheaders()
        for block in [body] if isinstance(body, bytes) else body:
            if length is None:
                block = b"%x\r\n%b\r\n" % (len(block), block)
            connection.send(block)
        if length is None:
            connection.send(b"0\r\n\r\n")
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        if isinstance(body, Body):
            body.drain()
        raise Refusal(
            "ServiceUnavailable", f"the backend {url} does not answer: {error}", 503
        ) from error
    headers = tuple(
        (name, value)
        for name, value in response.getheaders()
        if name.lower() not in HOP
    )
    return Answer(response.status, headers, _blocks(connection, response))


def _blocks(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse
) -> Iterator[bytes]:
    try:
        while block := response.read(BLOCK_BYTES):
            yield block
    finally:
        response.close()
        connection.close()
