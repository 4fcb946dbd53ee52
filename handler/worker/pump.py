"""Pump: takes requests from TorchServe's calls and returns the replies of its threads.

TorchServe calls `handle` again and again with every request that has no answer yet. A
request that is left out of `context.request_ids` stays open and is part of the next
call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from handler.errors import (
    DocumentTooLargeError,
    EngineError,
    HandlerError,
    OverloadedError,
)
from handler.http.reply import Reply, problem_reply
from handler.http.request import parse_headers
from handler.worker.call_answers import CallAnswers, Part, error_line
from handler.worker.metadata import MetadataRequests, asks_for_metadata
from handler.worker.open_request import OpenRequest, free_row
from handler.worker.safe_read import read_safely

__all__ = ["Pump"]

logger = logging.getLogger(__name__)

# TorchServe sends every open body again in every call, which takes about 1.7 ms per MB.
# Waiting ten times as long keeps that below a tenth of the time.
WAIT_SECONDS_PER_BYTE = 10 * 1.7e-9
MAX_WAIT_SECONDS = 5.0
MAX_FRAME_BYTES = 4 * 1024**2
"""Once a call's answers have this size, the others wait for the next call. Java copies
all answers of a call into direct memory, and a single one may have 100 MB."""
ABANDONED_SECONDS = 10.0
"""Time without a call after which the pump assumes that TorchServe has abandoned its
requests. TorchServe calls within milliseconds while it has an open request."""
ABANDONED_SECONDS_PER_BYTE = 100e-9
"""Time to add for the bodies that TorchServe sends again: at worst, 10 MB a second."""


class Pump:
    """Runs requests in threads, and answers TorchServe's calls with their replies.

    `read` runs in a thread for each request and returns its reply; an exception becomes
    a problem reply. `report` is called once for each request with its reply, also if
    its client has disconnected, but not for requests for metadata. `description` is the
    JSON that answers a request for the model's metadata. `wait_seconds` is the time for
    which a call waits for an answer. `abandoned_seconds` is the time without a call
    after which open requests are cancelled, and `max_call_seconds` the duration of a
    call after which the worker counts as stuck. Creating a pump starts a thread that
    watches for abandoned requests; `close` ends it.
    """

    def __init__(
        self,
        read: Callable[[OpenRequest], Reply],
        *,
        max_open_requests: int,
        max_reply_bytes: int,
        wait_seconds: float,
        report: Callable[[OpenRequest, Reply], None],
        description: bytes = b"{}",
        abandoned_seconds: float = ABANDONED_SECONDS,
        max_call_seconds: float = MAX_WAIT_SECONDS + ABANDONED_SECONDS,
    ) -> None:
        self._read = read
        self._max_open_requests = max_open_requests
        self._max_reply_bytes = max_reply_bytes
        self._wait_seconds = wait_seconds
        self._report_answer = report
        self._abandoned_seconds = abandoned_seconds
        self._max_call_seconds = max_call_seconds
        self._open_requests: dict[str, OpenRequest] = {}
        # Requests that TorchServe no longer asks for; they are reported once they end.
        self._unreported: list[OpenRequest] = []
        self._answer_ready = threading.Event()
        self._threads = ThreadPoolExecutor(max_open_requests, "request")
        # Held for a whole call, so that the watch thread acts between two calls.
        self._call_lock = threading.Lock()
        self._last_call_at = time.monotonic()
        self._call_began_at: float | None = None
        self._metadata = MetadataRequests(description)
        # Requests whose answers had no room in the last call, and go first in the next.
        self._deferred: set[str] = set()
        self._refusal: str | None = None
        self._accepts_queued = False
        self._is_closed = threading.Event()
        threading.Thread(target=self._watch_clients, name="watch", daemon=True).start()

    def serve_call(
        self, rows: Sequence[Mapping[str, Any]], context: Any
    ) -> list[bytes]:
        """Accept new requests, wait briefly, and return the answers that are ready.

        Serves one call of `handle`. Returns a body for each row, empty for a request
        without an answer. Writes statuses and headers of the answers to `context`, and
        removes unanswered requests from `context.request_ids`. Never raises for a
        single request.
        """
        self._call_began_at = time.monotonic()
        with self._call_lock:
            try:
                self._report_dropped()
                return self._serve_call_locked(rows, context)
            finally:
                self._last_call_at = time.monotonic()
                self._call_began_at = None

    def _serve_call_locked(
        self, rows: Sequence[Mapping[str, Any]], context: Any
    ) -> list[bytes]:
        """Serve a call while `_call_lock` is held; answer with errors if that fails."""
        self._metadata.drop_answered(context, self._open_requests)
        request_ids: dict[int, str] = dict(context.request_ids)
        # The context outlives the call, and so would the criteria of earlier streams.
        context.stopping_criteria = None
        try:
            self._drop(self._open_requests.keys() - set(request_ids.values()))
            for index, request_id in request_ids.items():
                if request_id not in self._open_requests:
                    headers = parse_headers(context.get_all_request_header(index))
                    self._accept_or_fail(request_id, rows[index], headers)
                elif rows[index] is not self._open_requests[request_id].row:
                    # TorchServe sent the body again, and the first copy is in use.
                    free_row(rows[index])
            self._wait_for_answers(request_ids)
            answers = CallAnswers(len(rows), context)
            self._collect_answers(request_ids, answers)
            return answers.finish()
        except Exception:
            # An exception here would answer every open request with one error.
            logger.exception("the pump failed")
            context.request_ids.update(request_ids)
            answers = CallAnswers(len(rows), context)
            self._answer_all_with_error(request_ids, answers)
            return answers.finish()

    @property
    def num_open(self) -> int:
        """Number of requests that have no complete answer yet."""
        return len(self._open_requests)

    @property
    def is_refusing(self) -> bool:
        """True if new requests are refused."""
        return self._refusal is not None

    @property
    def is_stuck(self) -> bool:
        """True if replies have stopped leaving the worker.

        Either a call does not end, or TorchServe has open requests and does not call,
        or it only repeats one request for metadata.
        """
        now = time.monotonic()
        if (began := self._call_began_at) is not None:
            return self._metadata.is_blocking or now - began > self._max_call_seconds
        # TorchServe may not call again for a client that has disconnected.
        has_waiting_client = any(
            not r.is_disconnected for r in tuple(self._open_requests.values())
        )
        idle_seconds = now - self._last_call_at - self._resend_seconds()
        return self._metadata.is_blocking or (
            has_waiting_client and idle_seconds > self._abandoned_seconds
        )

    def disconnect(self, request_ids: Collection[str]) -> None:
        """Cancel the open requests with these ids, whose clients have disconnected.

        Unknown ids are ignored. The requests are still answered, because TorchServe
        waits for the answers. Thread-safe.
        """
        for request in tuple(self._open_requests.values()):
            if request.id in request_ids and not request.is_disconnected:
                request.disconnect()

    def refuse(self, reason: str, *, accepts_queued: bool = False) -> None:
        """Refuse new requests from now on, with 503.

        With `accepts_queued`, requests that frontend/ admitted are accepted, because
        they were queued before; frontend/ refuses new ones itself.
        """
        # Set first, so that a call in between does not refuse a queued request.
        self._accepts_queued = accepts_queued
        self._refusal = reason

    def drain(self, timeout_seconds: float, reason: str) -> None:
        """Refuse new requests, and wait until the open ones are answered.

        Returns after `timeout_seconds` even if some requests are still open.
        """
        self.refuse(reason)
        deadline = time.monotonic() + timeout_seconds
        while self._open_requests and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self) -> None:
        """Cancel every request, and wait until their threads have ended.

        Also ends the thread that watches for abandoned requests.
        """
        self._is_closed.set()
        with self._call_lock:
            self._drop(set(self._open_requests))
        self._threads.shutdown(wait=True)

    def _watch_clients(self) -> None:
        """Cancel abandoned requests until the pump is closed.

        Also drops requests whose clients have disconnected once TorchServe is idle, and
        reports dropped requests whose threads have ended. TorchServe sends no notice
        when it abandons a request: it only stops calling.
        """
        max_idle_seconds = self._abandoned_seconds
        while not self._is_closed.wait(max_idle_seconds / 10):
            with self._call_lock:
                idle_seconds = (
                    time.monotonic() - self._last_call_at - self._resend_seconds()
                )
                if idle_seconds > max_idle_seconds:
                    # They stay open, and are answered if TorchServe calls again.
                    for request in self._open_requests.values():
                        request.cancel()
                if idle_seconds > max_idle_seconds / 10:
                    # TorchServe may never call again for these.
                    self._drop(
                        {
                            r.id
                            for r in self._open_requests.values()
                            if r.is_disconnected
                        }
                    )
                self._report_dropped()

    def _resend_seconds(self) -> float:
        """Return the longest time TorchServe takes to send the open bodies again."""
        # TorchServe does not send the body of a stream that has begun.
        waiting = [
            r for r in tuple(self._open_requests.values()) if not r.has_stream_begun
        ]
        num_bytes = sum(request.num_bytes for request in waiting)
        return num_bytes * ABANDONED_SECONDS_PER_BYTE

    def _drop(self, request_ids: set[str]) -> None:
        """Drop these open requests, and cancel them as disconnected.

        TorchServe stops sending a stream whose client has disconnected. A dropped
        request is reported once its thread has ended.
        """
        for request_id in request_ids:
            request = self._open_requests.pop(request_id)
            request.disconnect()
            self._unreported.append(request)

    def _report_dropped(self) -> None:
        """Report the dropped requests whose threads have ended."""
        for request in [r for r in self._unreported if r.future.done()]:
            self._unreported.remove(request)
            self._report(request, request.future.result())

    def _accept_or_fail(
        self, request_id: str, row: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        """Accept a request, or answer it with 500 if that raises an exception."""
        try:
            self._accept(request_id, row, headers)
        except Exception:
            logger.exception("request not accepted", extra={"request_id": request_id})
            failed = OpenRequest(request_id, {}, {"host": ""}, self._answer_ready)
            failed.future.set_result(problem_reply(HandlerError(), request_id))
            self._open_requests[request_id] = failed

    def _accept(
        self, request_id: str, row: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        """Start a thread that reads the request, or answer it at once.

        Requests for metadata, refused requests and those above the limit have an answer
        at once.
        """
        request = OpenRequest(request_id, row, headers, self._answer_ready)
        is_queued = request.is_from_frontend and self._accepts_queued
        if asks_for_metadata(row, headers):
            request.future.set_result(self._metadata.answer(request_id))
        elif self._refusal is not None and not is_queued:
            error = EngineError(self._refusal)
            request.future.set_result(problem_reply(error, request_id))
        elif len(self._open_requests) >= self._max_open_requests:
            error = OverloadedError(
                f"{self._max_open_requests} requests are open already"
            )
            request.future.set_result(problem_reply(error, request_id))
        else:
            self._threads.submit(self._run, request)
        self._open_requests[request_id] = request

    def _run(self, request: OpenRequest) -> None:
        """Read the document of a request and set its reply; never raise."""
        request.future.set_result(read_safely(self._read, request))
        self._answer_ready.set()

    def _wait_for_answers(self, request_ids: Mapping[int, str]) -> None:
        """Wait until a reply or a line of a stream can be sent, for some time at most.

        The time grows with the size of the open bodies.
        """
        num_bytes = sum(
            self._open_requests[name].num_bytes for name in request_ids.values()
        )
        seconds = max(self._wait_seconds, num_bytes * WAIT_SECONDS_PER_BYTE)
        if not any(
            self._open_requests[name].future.done() for name in request_ids.values()
        ):
            self._answer_ready.wait(min(seconds, MAX_WAIT_SECONDS))
        self._answer_ready.clear()

    def _collect_answers(
        self, request_ids: Mapping[int, str], answers: CallAnswers
    ) -> None:
        """Add complete replies and lines of streams to the answers of a call.

        Closes and reports the requests whose reply is complete. Once the answers have
        `MAX_FRAME_BYTES`, further ones are left for the next call.
        """
        deferred: set[str] = set()
        # Short answers go first, because those after a long one wait for the next call.
        for index, request_id in sorted(
            request_ids.items(),
            key=lambda item: (
                item[1] not in self._deferred,
                self._open_requests[item[1]].num_unsent_bytes,
            ),
        ):
            request = self._open_requests[request_id]
            if answers.num_bytes >= MAX_FRAME_BYTES:
                if request.num_unsent_bytes:
                    deferred.add(request_id)
                self._answer_ready.set()
                answers.leave_open(index)
            elif request.future.done() and request.num_line_bytes < MAX_FRAME_BYTES:
                reply = self._build_final_reply(request, request.future.result())
                part = Part.LAST_FRAME if request.has_stream_begun else Part.WHOLE
                del self._open_requests[request_id]
                if request_id not in self._metadata:
                    self._report(request, reply)
                answers.add(index, reply, part, is_grpc=request.is_grpc)
            elif lines := request.take_lines(MAX_FRAME_BYTES):
                headers = request.summary.stream_headers
                reply = Reply(200, "application/x-ndjson", lines, headers)
                request.mark_stream_begun()
                answers.add(index, reply, Part.FRAME)
            else:
                answers.leave_open(index)
        self._deferred = deferred

    def _report(self, request: OpenRequest, reply: Reply) -> None:
        """Call the `report` of the constructor, and log an exception that it raises."""
        try:
            self._report_answer(request, reply)
        except Exception:  # A failure to count an answer must not lose it.
            logger.exception("answer not counted", extra={"request_id": request.id})

    def _build_final_reply(self, request: OpenRequest, reply: Reply) -> Reply:
        """Return the reply to send, preceded by the streamed lines that were not sent.

        Takes these lines out of the request. A reply above the limit is replaced by an
        error; after the head of a stream, an error is returned as a line of the stream.
        """
        lines = request.take_lines()
        if reply.status < 400:
            reply = reply.with_body(lines + reply.body)
        if len(reply.body) > self._max_reply_bytes:
            error = DocumentTooLargeError(
                f"the answer has {len(reply.body):,} bytes, above the limit of "
                f"{self._max_reply_bytes:,}: ask for fewer pages, or without images"
            )
            reply = problem_reply(error, request.id, reply.pages)
        if reply.status >= 400 and request.has_stream_begun:
            # The status has been sent, so the error is one more line of the stream.
            reply = error_line(reply)
        return reply

    def _answer_all_with_error(
        self, request_ids: Mapping[int, str], answers: CallAnswers
    ) -> None:
        """Cancel and close the requests, and add an internal error for each."""
        for index, request_id in request_ids.items():
            request = self._open_requests.pop(request_id, None)
            reply, part = problem_reply(HandlerError(), request_id), Part.WHOLE
            if request is not None:
                request.cancel()
                if request.has_stream_begun:
                    reply, part = error_line(reply), Part.LAST_FRAME
            answers.add(index, reply, part)
