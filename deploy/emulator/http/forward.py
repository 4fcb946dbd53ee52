"""Forwarding of requests to the backend, unchanged."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

from deploy.emulator.http.wire import BLOCK_BYTES, Body, Request, Response, ServiceError

__all__ = ["forward"]

TIMEOUT_SECONDS = 300
# Hop-by-hop headers (RFC 9110, section 7.6.1), and Expect.
HOP_BY_HOP_HEADERS = {
    "connection",
    "keep-alive",
    "expect",
    "transfer-encoding",
    "te",
    "upgrade",
}


def forward(request: Request, url: str, body: bytes | Body | None = None) -> Response:
    """Forward a request to the server at `url`, and return its response.

    `body` replaces the body of the request if that was already read. The Host header is
    kept, because it is part of the signed request. Raises ServiceError if the server
    does not respond.
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
            if (
                name.lower() not in HOP_BY_HOP_HEADERS
                and name.lower() != "content-length"
            ):
                connection.putheader(name, value)
        if length is None:
            connection.putheader("Transfer-Encoding", "chunked")
        elif length or request.get_header("Content-Length") is not None:
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
        raise ServiceError(
            "ServiceUnavailable", f"the backend {url} does not respond: {error}", 503
        ) from error
    headers = tuple(
        (name, value)
        for name, value in response.getheaders()
        if name.lower() not in HOP_BY_HOP_HEADERS
    )
    return Response(response.status, headers, _read_blocks(connection, response))


def _read_blocks(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse
) -> Iterator[bytes]:
    try:
        while block := response.read(BLOCK_BYTES):
            yield block
    finally:
        response.close()
        connection.close()
