"""HTTP server in place of a container, whose replies a test sets."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from deploy.emulator.http.front import Listener

__all__ = ["ReceivedInvocation", "Reply", "ScriptedContainer"]


@dataclass
class Reply:
    """Reply of the container; an iterator is sent chunk by chunk."""

    body: bytes | Iterator[bytes] = b"read"
    status: int = 200
    content_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)
    is_broken: bool = False
    """Whether the connection is closed before the reply, or before its end."""


@dataclass
class ReceivedInvocation:
    """Invocation that the container received."""

    headers: dict[str, str]
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        return self.headers.get(name.lower())


class ScriptedContainer:
    """Container whose behaviour a test scripts.

    `reply` is called for every invocation. `ping` is the status of `/ping`, and
    `parameters` the body of `/execution-parameters`. `received` holds the invocations
    so far, and `max_concurrency` the largest number that were open at the same time.
    """

    def __init__(self) -> None:
        self.reply: Callable[[ReceivedInvocation], Reply] = lambda received: Reply(
            received.body
        )
        self.ping = 200
        self.parameters: bytes | None = None
        self.received: list[ReceivedInvocation] = []
        self.num_pings = 0
        self.max_concurrency = 0
        self._num_open = 0
        self._lock = threading.Lock()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                scripted._get(self)

            def do_POST(self) -> None:
                # The client may have closed the connection by now.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    scripted._post(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._listener = Listener(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        self._listener.start()
        self.address = self._listener.address

    def close(self) -> None:
        self._listener.close()

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        status, body = self.ping, b""
        if handler.path == "/execution-parameters":
            status, body = (
                (404, b"") if self.parameters is None else (200, self.parameters)
            )
        else:
            self.num_pings += 1
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        received = ReceivedInvocation(headers, _read_body(handler, headers))
        with self._lock:
            self.received.append(received)
            self._num_open += 1
            self.max_concurrency = max(self.max_concurrency, self._num_open)
        try:
            reply = self.reply(received)
        finally:
            with self._lock:
                self._num_open -= 1
        handler.close_connection = True
        if reply.is_broken and not isinstance(reply.body, Iterator):
            return
        handler.send_response(reply.status)
        handler.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if isinstance(reply.body, bytes):
            handler.send_header("Content-Length", str(len(reply.body)))
            handler.end_headers()
            handler.wfile.write(reply.body)
            return
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in reply.body:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            handler.wfile.flush()
        if not reply.is_broken:
            handler.wfile.write(b"0\r\n\r\n")


def _read_body(handler: BaseHTTPRequestHandler, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return handler.rfile.read(int(headers["content-length"]))
    pieces = []
    while size := int(handler.rfile.readline(), 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(pieces)
