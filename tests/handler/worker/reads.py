"""Requests and a fake reader for tests of the pump."""

from __future__ import annotations

import threading

from handler.errors import RequestError
from handler.http.reply import Reply
from handler.worker.open_request import OpenRequest
from tests.waiting import until

A, B = {"body": b"a"}, {"body": b"b"}
UNANSWERED = b""


class Reads:
    """Fake reader whose reads end on request of the test."""

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

    def finish(self, request_id: str, reply: Reply | Exception | None = None) -> None:
        until(lambda: request_id in self.requests)
        self._replies[request_id] = reply or Reply(200, "text/plain", b"read")
        self._ends[request_id].set()
        until(lambda: self.requests[request_id].future.done())
