"""Rows of two requests, and a fake reader, for tests of the pump."""

from __future__ import annotations

import threading

from handler.errors import RequestError
from handler.http.reply import Reply
from handler.worker.open_request import OpenRequest
from tests.waiting import until

ROW_A, ROW_B = {"body": b"a"}, {"body": b"b"}
UNANSWERED = b""
"""Body that the pump returns for a request without an answer."""


class ManualReader:
    """Fake `read` of a pump, which returns once `finish` is called for the request.

    For a cancelled request, it raises RequestError by itself.
    """

    def __init__(self) -> None:
        self.requests: dict[str, OpenRequest] = {}
        self._ends: dict[str, threading.Event] = {}
        self._replies: dict[str, Reply | Exception] = {}

    def __call__(self, request: OpenRequest) -> Reply:
        self._ends[request.id] = threading.Event()
        self.requests[request.id] = request
        while not self._ends[request.id].wait(0.01):
            if request.is_cancelled:
                raise RequestError("cancelled")
        reply = self._replies[request.id]
        if isinstance(reply, Exception):
            raise reply
        return reply

    def wait_for(self, request_id: str) -> OpenRequest:
        """Wait until the pump reads the request with this id, and return it."""
        until(lambda: request_id in self.requests)
        return self.requests[request_id]

    def finish(self, request_id: str, reply: Reply | Exception | None = None) -> None:
        """Return the reply from the read of a request, or raise it if it is an error.

        The default reply has status 200 and the body `read`.
        """
        request = self.wait_for(request_id)
        self._replies[request_id] = reply or Reply(200, "text/plain", b"read")
        self._ends[request_id].set()
        until(request.future.done)
