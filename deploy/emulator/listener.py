"""An HTTP server of Python's that answers in a thread of its own."""

from __future__ import annotations

import threading
from http.server import HTTPServer

__all__ = ["Listener"]

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
