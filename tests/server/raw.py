"""Raw HTTP over sockets, for requests that no client library would send."""

from __future__ import annotations

import socket

__all__ = [
    "PING",
    "announce_body",
    "connect",
    "exchange",
    "exchange_with",
    "request_head",
]

PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(client, timeout_seconds: float = 60) -> socket.socket:
    """Open a connection to the server."""
    return _connect(client.server.address, timeout_seconds)


def _connect(address: str, timeout_seconds: float) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=timeout_seconds)


def request_head(
    *headers: bytes,
    method: bytes = b"POST",
    path: bytes = b"/invocations",
    version: bytes = b"HTTP/1.1",
    content_type: bytes = b"image/png",
) -> bytes:
    """Return the head of a request: its request line and headers."""
    request_line = b" ".join((method, path, version))
    lines = (
        request_line,
        b"Host: localhost",
        b"Content-Type: " + content_type,
        *headers,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n"


def announce_body(
    client, length: int, method: bytes = b"POST", path: bytes = b"/invocations"
):
    """Open a connection, and send a head with this Content-Length but no body."""
    connection = connect(client)
    head_bytes = request_head(b"Content-Length: %d" % length, method=method, path=path)
    connection.sendall(head_bytes)
    return connection


def exchange(client, request: bytes) -> bytes:
    """Send bytes to the server, and return its output until the connection closes."""
    return exchange_with(client.server.address, request)


def exchange_with(address: str, request: bytes) -> bytes:
    """Send bytes to an address, and return the output until the connection closes."""
    with _connect(address, 20) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
        return answer
