"""Request that has no complete answer yet."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from handler.http.reply import Reply

__all__ = ["OpenRequest", "RequestSummary", "free_row"]

logger = logging.getLogger(__name__)

ARRIVAL_HEADER = "x-chandra-arrival"
"""Nanoseconds of Java's `System.nanoTime`, which on Linux is Python's monotonic clock.
frontend/ overwrites what a client sends under this name."""
MAX_QUEUE_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """Facts about a parsed request, for its log line and the head of a stream."""

    document_digest: str | None = None
    """Digest that identifies the document, or None if it has none."""
    fetched_bytes: int = 0
    """Size of a document that was fetched from S3."""
    stream_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of a streamed answer, sent before the reply is complete."""


class ReadState(Enum):
    """State of the reading of a request: active, or the reason why it is to stop."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    """TorchServe seems to have abandoned the request."""
    DISCONNECTED = "disconnected"
    """The client is known to have disconnected; also counts as cancelled."""


class OpenRequest:
    """Request without a complete answer, shared by the pump and a reading thread.

    `row` is TorchServe's row with the body and the parameters. `answer_ready` is set
    when there are lines to send.
    """

    def __init__(
        self,
        request_id: str,
        row: Mapping[str, Any],
        headers: Mapping[str, str],
        answer_ready: threading.Event,
    ) -> None:
        self.id = request_id
        self.row = row
        """The body and parameters; freed once they are parsed."""
        self.headers = headers
        self.seen_at = time.monotonic()
        """Time at which the worker first saw it, on the monotonic clock."""
        arrival = _parse_arrival(headers, self.seen_at)
        self.is_from_frontend = arrival is not None
        """True if frontend/ admitted it and stamped its arrival."""
        self.received_at = self.seen_at if arrival is None else arrival
        """Time at which its last byte reached frontend/, on the monotonic clock."""
        self.num_bytes = sum(
            len(value) for value in row.values() if isinstance(value, bytes | bytearray)
        )
        self.future: Future[Reply] = Future()
        self.has_stream_begun = False
        """True once the head of a stream has been sent."""
        self._state = ReadState.ACTIVE
        self._summary = RequestSummary()
        self._answer_ready = answer_ready
        self._lines: list[bytes] = []
        self._lock = threading.Lock()

    @property
    def summary(self) -> RequestSummary:
        """Summary of the parsed request; empty until `set_summary` is called."""
        return self._summary

    def set_summary(self, summary: RequestSummary) -> None:
        """Replace the summary, when more is known about the request."""
        self._summary = summary

    @property
    def is_grpc(self) -> bool:
        """True if the request came by gRPC; only such requests have no headers."""
        return not self.headers

    @property
    def is_cancelled(self) -> bool:
        """True if the reading thread is to stop: also after a disconnect."""
        return self._state is not ReadState.ACTIVE

    @property
    def is_disconnected(self) -> bool:
        """True once the client is known to have disconnected."""
        return self._state is ReadState.DISCONNECTED

    @property
    def queue_seconds(self) -> float:
        """Time in TorchServe's queue before the worker saw it."""
        return self.seen_at - self.received_at

    def release_row(self, document: object) -> None:
        """Forget the row, and free its bytes unless one of its values is the document.

        `document` may also be a view of the body, which is then kept as well.
        """
        row, self.row = self.row, {}
        if not any(value is document for value in row.values()):
            free_row(row)

    def mark_stream_begun(self) -> None:
        """Record that the head of the streamed answer has been sent."""
        self.has_stream_begun = True

    def disconnect(self) -> None:
        """Cancel the request, and record that its client has disconnected."""
        self._stop_reading(ReadState.DISCONNECTED)

    def cancel(self) -> None:
        """Ask the reading thread to stop by setting `is_cancelled`, and log that.

        Nothing is logged if the request was cancelled before or has its reply.
        """
        self._stop_reading(ReadState.CANCELLED)

    def _stop_reading(self, state: ReadState) -> None:
        with self._lock:
            was_active = self._state is ReadState.ACTIVE
            # A later cancellation must not hide that the client has disconnected.
            if was_active or state is ReadState.DISCONNECTED:
                self._state = state
        if was_active and not self.future.done():
            logger.info("request cancelled", extra={"request_id": self.id})

    def stream(self, line: bytes) -> None:
        """Queue a line of the answer, which is sent before the reply is complete."""
        with self._lock:
            self._lines.append(line)
        self._answer_ready.set()

    @property
    def num_unsent_bytes(self) -> int:
        """Size in bytes of the answer that could be sent now."""
        body = self.future.result().body if self.future.done() else b""
        return self.num_line_bytes + len(body)

    @property
    def num_line_bytes(self) -> int:
        """Size in bytes of the streamed lines that have not been sent."""
        with self._lock:
            return sum(map(len, self._lines))

    def take_lines(self, max_bytes: float = math.inf) -> bytes:
        """Remove whole lines from the queue and return them, joined.

        Takes lines until they have at least `max_bytes`. Returns no bytes if the queue
        is empty. Sets `answer_ready` if lines are left.
        """
        with self._lock:
            sizes = enumerate(itertools.accumulate(map(len, self._lines)), 1)
            num_enough = (num for num, num_bytes in sizes if num_bytes >= max_bytes)
            num_lines = next(num_enough, len(self._lines))
            lines, self._lines = self._lines[:num_lines], self._lines[num_lines:]
        if self._lines:
            self._answer_ready.set()
        return b"".join(lines)


def free_row(row: Mapping[str, Any]) -> None:
    """Empty the bytearrays in a row, which TorchServe would keep until the next call.

    A bytearray to which a memoryview refers keeps its content.
    """
    for value in row.values():
        if isinstance(value, bytearray):
            with contextlib.suppress(BufferError):
                value.clear()


def _parse_arrival(headers: Mapping[str, str], now: float) -> float | None:
    """Return the arrival time set by frontend/, in seconds of the monotonic clock.

    Returns None without a stamp, or if it is in the future or more than a day old.
    """
    try:
        arrival = int(headers[ARRIVAL_HEADER]) / 1e9
    except (KeyError, ValueError, OverflowError):
        return None
    return arrival if 0 <= now - arrival <= MAX_QUEUE_SECONDS else None
