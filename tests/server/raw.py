"""HTTP as bytes, for what no client library would send."""

from __future__ import annotations

import socket

__all__ = ["PING", "announced", "connected", "exchange", "exchange_with", "head"]

PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connected(client, timeout_seconds: float = 60) -> socket.socket:
    """A connection to the server, on which nothing was said yet."""
    return _connected(client.server.address, timeout_seconds)


def _connected(address: str, timeout_seconds: float) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=timeout_seconds)


def head(
    *headers: bytes,
    method: bytes = b"POST",
    path: bytes = b"/invocations",
    version: bytes = b"HTTP/1.1",
    content_type: bytes = b"image/png",
) -> bytes:
    """The lines before a body."""
    first = b" ".join((method, path, version))
    lines = (first, b"Host: localhost", b"Content-Type: " + content_type, *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def announced(
    client, length: int, method: bytes = b"POST", path: bytes = b"/invocations"
):
    """A connection on which a body of so many bytes was announced, and none sent."""
    connection = connected(client)
    sent = head(b"Content-Length: %d" % length, method=method, path=path)
    connection.sendall(sent)
    return connection


def exchange(client, request: bytes) -> bytes:
    """All that is answered until the server says that no more will come."""
    return exchange_with(client.server.address, request)


def exchange_with(address: str, request: bytes) -> bytes:
    """Exchange bytes with the server at any address."""
    with _connected(address, 20) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
        return answer
