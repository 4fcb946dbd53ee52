"""The pump: submit what is new, wait briefly, answer what is finished.

TorchServe calls again and again with every request not yet answered. One left
out of `context.request_ids` stays open and comes back in the next call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from handler.errors import (
    ClientGoneError,
    DocumentTooLargeError,
    EngineError,
    HandlerError,
    OverloadedError,
)
from handler.http.reply import Reply, header_safe, problem
from handler.http.request import headers_from
from handler.logs import OUT_OF_DESCRIPTORS, is_out_of_descriptors
from handler.worker.open_request import OpenRequest, free_row

__all__ = ["Pump"]

logger = logging.getLogger(__name__)

UNANSWERED = b""
# TorchServe sends every open body again in every call, at about 1.7 ms a MB;
# waiting ten times as long keeps that below a tenth of the time.
WAIT_SECONDS_PER_BYTE = 10 * 1.7e-9
MAX_WAIT_SECONDS = 5.0
MAX_FRAME_BYTES = 4 * 1024**2
"""Once a call's answers have this size, the others wait for the next call. Java copies
all answers of a call into direct memory, and a single one may have 100 MB."""
MAX_DESCRIBED = 64
"""The number of requests for metadata whose ids are remembered."""
ABANDONED_SECONDS = 10.0
"""TorchServe calls again within milliseconds while it has an open request..."""
ABANDONED_SECONDS_PER_BYTE = 100e-9
"""...but for the time it takes to send the bodies again: at worst, ten MB a second."""
STREAM_NEXT = "ts_stream_next"
"""TorchServe's header that says whether more of a stream follows."""


class Pump:
    """Turns TorchServe's calls into threads that read, and their replies back.

    `read` runs in a thread for each request and returns its reply; whatever it
    raises becomes one. `answered` is told of every reply that leaves. `description`
    is the JSON that answers a request for the model's own metadata.
    """

    def __init__(
        self,
        read: Callable[[OpenRequest], Reply],
        *,
        max_open_requests: int,
        max_reply_bytes: int,
        wait_seconds: float,
        answered: Callable[[OpenRequest, Reply], None],
        description: bytes = b"{}",
        abandoned_seconds: float = ABANDONED_SECONDS,
        max_turn_seconds: float = MAX_WAIT_SECONDS + ABANDONED_SECONDS,
    ) -> None:
        self._read = read
        self._max_open_requests = max_open_requests
        self._max_reply_bytes = max_reply_bytes
        self._wait_seconds = wait_seconds
        self._answered = answered
        self._description = description
        self._abandoned_seconds = abandoned_seconds
        self._max_turn_seconds = max_turn_seconds
        self._open: dict[str, OpenRequest] = {}
        # No answer of these can leave; they are reported once they have come to an end.
        self._left: list[OpenRequest] = []
        self._news = threading.Event()
        self._threads = ThreadPoolExecutor(max_open_requests, "request")
        # Held for a whole turn: between two turns, the watch may have a look.
        self._turn = threading.Lock()
        self._last_turn = time.monotonic()
        self._turn_began: float | None = None
        # The ids of requests for metadata, the latest of them: a client may send many.
        self._described: deque[str] = deque(maxlen=MAX_DESCRIBED)
        # The answers that had no room in the last call: they go first in the next.
        self._deferred: set[str] = set()
        self._is_blocked = False
        self._refusal: str | None = None
        self._accepts_queued = False
        self._is_closed = threading.Event()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def turn(self, rows: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """One call of `handle`: an entry for each row, answered or not."""
        self._turn_began = time.monotonic()
        with self._turn:
            try:
                self._report_left()
                return self._take_turn(rows, context)
            finally:
                self._last_turn = time.monotonic()
                self._turn_began = None

    def _take_turn(
        self, rows: Sequence[Mapping[str, Any]], context: Any
    ) -> list[bytes]:
        self._drop_answered_describe(context)
        request_ids: dict[int, str] = dict(context.request_ids)
        # The context outlives the call; so would yesterday's streams.
        context.stopping_criteria = None
        try:
            self._let_go_of_all_but(set(request_ids.values()))
            for index, request_id in request_ids.items():
                if request_id not in self._open:
                    headers = headers_from(context.get_all_request_header(index))
                    self._accept_or_fail(request_id, rows[index], headers)
                elif rows[index] is not self._open[request_id].row:
                    # TorchServe sent the body again; the first copy is in use.
                    free_row(rows[index])
            self._wait(request_ids)
            return self._answer(request_ids, len(rows), context)
        except Exception:
            # An exception here would answer every open request with one error.
            logger.exception("the pump failed")
            return self._give_up(request_ids, len(rows), context)

    @property
    def num_open(self) -> int:
        """Requests that have come and have no answer yet."""
        return len(self._open)

    @property
    def is_refusing(self) -> bool:
        """Whether new requests are turned away."""
        return self._refusal is not None

    @property
    def is_stuck(self) -> bool:
        """True if replies have stopped leaving the worker.

        Either a turn does not end, or TorchServe has open requests and does not call,
        or it only repeats one request for metadata.
        """
        now = time.monotonic()
        if (began := self._turn_began) is not None:
            return self._is_blocked or now - began > self._max_turn_seconds
        # TorchServe drops a stream whose client has left, and need not call again.
        is_waited_for = any(not r.has_left for r in tuple(self._open.values()))
        away = now - self._last_turn - self._sending_seconds()
        return self._is_blocked or (is_waited_for and away > self._abandoned_seconds)

    def leave(self, request_ids: Collection[str]) -> None:
        """Read no further for these, where they are open: their clients have left.

        They are answered all the same, as TorchServe waits for it. From any thread.
        """
        for request in tuple(self._open.values()):
            if request.id in request_ids and not request.has_left:
                request.leave()

    def refuse(self, reason: str, *, accepts_queued: bool = False) -> None:
        """Turn new requests away from now on, with 503.

        With `accepts_queued`, requests that frontend/ admitted are accepted, because
        they were queued before; frontend/ refuses new ones itself.
        """
        # First, as a turn in between must not refuse what was queued.
        self._accepts_queued = accepts_queued
        self._refusal = reason

    def drain(self, timeout_seconds: float, reason: str) -> None:
        """Turn new requests away and wait until those that are open are answered."""
        self.refuse(reason)
        deadline = time.monotonic() + timeout_seconds
        while self._open and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self) -> None:
        """Forget every request; their threads notice."""
        self._is_closed.set()
        with self._turn:
            self._let_go_of_all_but(set())
        self._threads.shutdown(wait=True)

    def _watch(self) -> None:
        """Cancel what nobody asks for: after its last one, TorchServe just stops."""
        patience = self._abandoned_seconds
        while not self._is_closed.wait(patience / 10):
            with self._turn:
                away = time.monotonic() - self._last_turn - self._sending_seconds()
                if away > patience:
                    # They stay in the books: should TorchServe ask again after all,
                    # each is answered with what became of it.
                    for request in self._open.values():
                        request.cancel()
                if away > patience / 10:
                    # It is not to be expected for those whose clients have left.
                    self._let_go_of_all_but(
                        {r.id for r in self._open.values() if not r.has_left}
                    )
                self._report_left()

    def _sending_seconds(self) -> float:
        """How long TorchServe may take to send all that is open, in seconds."""
        # Of a stream that has begun, it sends no body any more.
        waiting = [r for r in tuple(self._open.values()) if not r.has_begun]
        num_bytes = sum(request.num_bytes for request in waiting)
        return num_bytes * ABANDONED_SECONDS_PER_BYTE

    def _let_go_of_all_but(self, request_ids: set[str]) -> None:
        """TorchServe asks no longer for a stream whose client it could not write to."""
        for request_id in self._open.keys() - request_ids:
            request = self._open.pop(request_id)
            request.leave()
            self._left.append(request)

    def _report_left(self) -> None:
        for request in [left for left in self._left if left.future.done()]:
            self._left.remove(request)
            self._report(request, request.future.result())

    def _accept_or_fail(
        self, request_id: str, row: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        """Accept a request; one that cannot be is answered alone, with 500."""
        try:
            self._accept(request_id, row, headers)
        except Exception:
            logger.exception("request not accepted", extra={"request_id": request_id})
            failed = OpenRequest(request_id, {}, {"host": ""}, self._news)
            failed.future.set_result(problem(HandlerError(), request_id))
            self._open[request_id] = failed

    def _accept(
        self, request_id: str, row: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        request = OpenRequest(request_id, row, headers, self._news)
        is_queued = request.is_from_frontend and self._accepts_queued
        if _is_describe(row, headers):
            self._described.append(request_id)
            request.future.set_result(Reply(200, "application/json", self._description))
            logger.info("describe", extra={"request_id": request_id})
        elif self._refusal is not None and not is_queued:
            error = EngineError(self._refusal)
            request.future.set_result(problem(error, request_id))
        elif len(self._open) >= self._max_open_requests:
            error = OverloadedError(
                f"{self._max_open_requests} requests are being read already"
            )
            request.future.set_result(problem(error, request_id))
        else:
            self._threads.submit(self._run, request)
        self._open[request_id] = request

    def _drop_answered_describe(self, context: Any) -> None:
        """Drop a request for metadata that has been answered already.

        TorchServe requeues such a request before sending it, so it repeats for ever and
        blocks the documents behind it. A second answer would reach the client as the
        answer to its next request.
        """
        answered = [
            index
            for index, request_id in context.request_ids.items()
            if request_id in self._described and request_id not in self._open
        ]
        for index in answered:
            del context.request_ids[index]
        if answered and not self._is_blocked:
            logger.error("documents blocked", extra={"request_id": self._described[-1]})
        self._is_blocked = bool(answered)

    def _run(self, request: OpenRequest) -> None:
        try:
            if request.is_cancelled:
                raise EngineError("the client is gone")
            reply = self._read(request)
        except HandlerError as error:
            reply = problem(error, request.id)
            _clear_tracebacks(error)
        except Exception as failure:
            if is_out_of_descriptors(failure):
                # A decoder could not be started, for example. Neither the document nor
                # our code is to blame.
                logger.exception(OUT_OF_DESCRIPTORS, extra={"request_id": request.id})
                shortage = OverloadedError("the server has too many files open now")
                reply = problem(shortage, request.id)
            else:
                logger.exception("request failed", extra={"request_id": request.id})
                reply = problem(HandlerError(), request.id)
            _clear_tracebacks(failure)
        if request.has_left:
            # Nobody gets what was read, but it was read.
            read = tuple(page for page in reply.pages if page.error is None)
            gone = ClientGoneError("the client closed its connection")
            reply = problem(gone, request.id, read)
        request.future.set_result(reply)
        self._news.set()

    def _wait(self, request_ids: Mapping[int, str]) -> None:
        num_bytes = sum(self._open[name].num_bytes for name in request_ids.values())
        seconds = max(self._wait_seconds, num_bytes * WAIT_SECONDS_PER_BYTE)
        if not any(self._open[name].future.done() for name in request_ids.values()):
            self._news.wait(min(seconds, MAX_WAIT_SECONDS))
        self._news.clear()

    def _answer(
        self, request_ids: Mapping[int, str], num_rows: int, context: Any
    ) -> list[bytes]:
        bodies = [UNANSWERED] * num_rows
        # By row: None for a plain reply, False for a stream's frame, True for its
        # last. True as the first frame would send no head, and the client would hang.
        is_last: dict[int, bool | None] = {}
        num_bytes = 0
        deferred: set[str] = set()
        # Short answers go first, because those after a long one wait for the next call.
        for index, request_id in sorted(
            request_ids.items(),
            key=lambda item: (
                item[1] not in self._deferred,
                self._open[item[1]].num_unsent_bytes,
            ),
        ):
            request = self._open[request_id]
            if num_bytes >= MAX_FRAME_BYTES:
                if request.num_unsent_bytes:
                    deferred.add(request_id)
                self._news.set()
                del context.request_ids[index]
                continue
            if request.future.done() and request.num_line_bytes < MAX_FRAME_BYTES:
                reply = self._last_words(request, request.future.result())
                is_last[index] = True if request.has_begun else None
                del self._open[request_id]
                if request_id not in self._described:
                    self._report(request, reply)
                if _is_grpc(request) and is_last[index] is None:
                    # Without this header, TorchServe ends the worker if the client
                    # asked for a stream.
                    reply = reply.with_header(STREAM_NEXT, "false")
            elif lines := request.take_lines(MAX_FRAME_BYTES):
                headers = request.stream_headers
                reply = Reply(200, "application/x-ndjson", lines, headers)
                is_last[index], request.has_begun = False, True
            else:
                del context.request_ids[index]
                continue
            bodies[index] = reply.body
            num_bytes += len(reply.body)
            _set_head(context, index, reply)
        self._deferred = deferred
        _set_stopping_criteria(context, is_last)
        return bodies

    def _report(self, request: OpenRequest, reply: Reply) -> None:
        try:
            self._answered(request, reply)
        except Exception:  # an answer is not to be lost to its bookkeeping
            logger.exception("not reported", extra={"request_id": request.id})

    def _last_words(self, request: OpenRequest, reply: Reply) -> Reply:
        """The reply, with what was streamed before it and is still here."""
        lines = request.take_lines()
        if reply.status < 400:
            reply = reply.with_body(lines + reply.body)
        if len(reply.body) > self._max_reply_bytes:
            error = DocumentTooLargeError(
                f"the answer has {len(reply.body):,} bytes, above the limit of "
                f"{self._max_reply_bytes:,}: ask for fewer pages, or without images"
            )
            reply = problem(error, request.id, reply.pages)
        if reply.status >= 400 and request.has_begun:
            # The status has left already: an error can only be one more line.
            reply = _error_line(reply)
        return reply

    def _give_up(
        self, request_ids: Mapping[int, str], num_rows: int, context: Any
    ) -> list[bytes]:
        context.request_ids.update(request_ids)
        bodies = [UNANSWERED] * num_rows
        is_last: dict[int, bool | None] = {}
        for index, request_id in request_ids.items():
            request = self._open.pop(request_id, None)
            reply = problem(HandlerError(), request_id)
            is_last[index] = None
            if request is not None:
                request.cancel()
                if request.has_begun:
                    reply, is_last[index] = _error_line(reply), True
            bodies[index] = reply.body
            _set_head(context, index, reply)
        _set_stopping_criteria(context, is_last)
        return bodies


def _clear_tracebacks(error: BaseException | None) -> None:
    """Free local variables of the functions that `error` ended, such as the document.

    A function that also holds the error forms a cycle, which the garbage collector
    would free only after many requests.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _is_describe(row: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Return whether TorchServe asks for the model's own metadata.

    Such a request has the header and no body; a document has a body, even if empty.
    """
    return not row and headers.get("describe") == "True"


def _is_grpc(request: OpenRequest) -> bool:
    """Return whether a request came by gRPC; only those have no headers."""
    return not request.headers


def _error_line(reply: Reply) -> Reply:
    """A problem as the last line of a stream whose status has left already."""
    return reply.with_body(b'{"event": "error", ' + reply.body[1:] + b"\n")


def _set_stopping_criteria(context: Any, is_last: Mapping[int, bool | None]) -> None:
    """What TorchServe asks of every answered row as soon as one is a stream."""
    if any(flag is not None for flag in is_last.values()):
        context.stopping_criteria = {
            index: (lambda _body, flag=flag: flag) for index, flag in is_last.items()
        }


def _set_head(context: Any, index: int, reply: Reply) -> None:
    context.set_response_status(reply.status, reply.phrase, index)
    context.set_response_content_type(index, header_safe(reply.media_type))
    for name, value in reply.headers.items():
        context.set_response_header(index, name, header_safe(value))
