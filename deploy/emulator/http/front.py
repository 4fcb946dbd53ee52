"""The HTTP server in front: requests in, answers out, whoever gives them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

from deploy.emulator.http.wire import Answer, Body, Request

__all__ = ["Front", "Listener"]

Answering = Callable[[Request], Answer]
MAX_LEFT_BYTES = 64 * 1024 * 1024
POLL_SECONDS = 0.05
"""How long closing may take, beside what is being answered."""


class Listener:
    """A server on loopback, from `start` until it is closed."""

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(POLL_SECONDS,), daemon=True
        )

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class Front:
    """Listens on loopback until it is closed."""

    def __init__(self, port: int = 0) -> None:
        """Raises OSError where somebody else has the port."""
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._listener = Listener(self._server)
        self.address = self._listener.address

    def serve(self, answer: Answering) -> None:
        self._server.answer = answer
        self._listener.start()

    def close(self) -> None:
        self._listener.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Hundreds of documents are submitted at once.
    request_queue_size = 128
    block_on_close = False
    answer: Answering

    def handle_error(self, *_: Any) -> None:
        """Whoever asked has gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of a small answer leave in two writes.
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        is_chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
        length = None if is_chunked else int(self.headers.get("Content-Length") or 0)
        request = Request(
            self.command,
            self.path,
            tuple(self.headers.items()),
            Body(self.rfile, length),
        )
        answer = self.server.answer(request)
        # What was not read would be taken for the next request.
        request.body.drain()
        self._send(answer)

    # The names that http.server looks for.
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815
    do_PATCH = do_OPTIONS = _serve  # noqa: N815

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        has_length = False
        for name, value in answer.headers:
            has_length = has_length or name.lower() == "content-length"
            self.send_header(name, value)
        is_empty = self.command == "HEAD" or answer.status in (204, 304)
        if isinstance(answer.body, bytes):
            if not has_length and not is_empty:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if not is_empty:
                self.wfile.write(answer.body)
            return
        if not has_length and not is_empty:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for block in answer.body:
            if is_empty:
                continue
            if not has_length:
                block = b"%x\r\n%b\r\n" % (len(block), block)
            self.wfile.write(block)
        if not has_length and not is_empty:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """No line for every request."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
