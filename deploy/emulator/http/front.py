"""HTTP server of the emulator, which passes requests to a handler."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

from deploy.emulator.http.wire import Body, Request, Response

__all__ = ["FrontServer", "Listener"]

Handler = Callable[[Request], Response]
POLL_SECONDS = 0.05
"""Interval at which the server looks for a request to shut down."""


class Listener:
    """HTTP server that runs in its own thread, from `start` until `close`."""

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
        """Stop the server, if it was started, and free its port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class FrontServer:
    """Server on a loopback port that passes requests to the emulator."""

    def __init__(self, port: int = 0) -> None:
        """Bind the port; raises OSError if it is in use. Port 0 selects a free one."""
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._listener = Listener(self._server)
        self.address = self._listener.address

    def serve(self, handle: Handler) -> None:
        """Start to answer requests with `handle`, in background threads."""
        self._server.handle = handle
        self._listener.start()

    def close(self) -> None:
        self._listener.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Clients submit hundreds of documents at once.
    request_queue_size = 128
    block_on_close = False
    handle: Handler

    def handle_error(self, *_: Any) -> None:
        """Ignore errors of a connection whose client has disconnected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of a small response are written separately.
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
        response = self.server.handle(request)
        # Unread bytes would be parsed as the next request.
        request.body.drain()
        self._send(response)

    # http.server requires these names.
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815
    do_PATCH = do_OPTIONS = _serve  # noqa: N815

    def _send(self, response: Response) -> None:
        self.send_response_only(response.status)
        has_length = False
        for name, value in response.headers:
            has_length = has_length or name.lower() == "content-length"
            self.send_header(name, value)
        is_empty = self.command == "HEAD" or response.status in (204, 304)
        if isinstance(response.body, bytes):
            if not has_length and not is_empty:
                self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if not is_empty:
                self.wfile.write(response.body)
            return
        if not has_length and not is_empty:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for block in response.body:
            if is_empty:
                continue
            if not has_length:
                block = b"%x\r\n%b\r\n" % (len(block), block)
            self.wfile.write(block)
        if not has_length and not is_empty:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """Log nothing, because a line for each request would hide the others."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
