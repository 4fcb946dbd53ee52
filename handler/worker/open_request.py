"""A request that has come and has no answer yet, or only the beginning of one."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from handler.http.reply import Reply

__all__ = ["OpenRequest", "free_row"]

logger = logging.getLogger(__name__)

ARRIVAL = "x-chandra-arrival"
"""Nanoseconds of Java's `System.nanoTime`, which on Linux is Python's monotonic clock.
frontend/ overwrites what a client sends under this name."""
MAX_WAIT_SECONDS = 86_400.0


class OpenRequest:
    """A request that TorchServe waits for: read in a thread, answered by the pump."""

    def __init__(
        self,
        request_id: str,
        row: Mapping[str, Any],
        headers: Mapping[str, str],
        news: threading.Event,
    ) -> None:
        self.id = request_id
        self.row = row
        """The body and parameters; freed once they are parsed."""
        self.headers = headers
        self.seen_at = time.monotonic()
        """Time at which the worker first saw it, on the monotonic clock."""
        arrival = _arrival(headers, self.seen_at)
        self.is_from_frontend = arrival is not None
        """True if frontend/ admitted it and stamped its arrival."""
        self.received_at = self.seen_at if arrival is None else arrival
        """Time at which its last byte reached frontend/, on the monotonic clock."""
        self.num_bytes = sum(
            len(value) for value in row.values() if isinstance(value, bytes | bytearray)
        )
        self.document_digest: str | None = None
        """Which document it is about; known once the request is understood."""
        self.fetched_bytes = 0
        """Of a document that lay elsewhere."""
        self.media_type: str | None = None
        """What the answer will be; known once the request is understood."""
        self.label: str | None = None
        """The caller's own name for it."""
        self.stream_headers: Mapping[str, str] = {}
        """Of the head of a stream, which leaves before the reply is there."""
        self.future: Future[Reply] = Future()
        self.is_cancelled = False
        self.has_left = False
        """Whether its client was seen to leave."""
        self.has_begun = False
        """Whether the head of a stream has left."""
        self._news = news
        self._lines: list[bytes] = []
        self._lock = threading.Lock()

    @property
    def queue_seconds(self) -> float:
        """Time in TorchServe's queue before the worker saw it."""
        return self.seen_at - self.received_at

    def release_row(self, document: object) -> None:
        """Free the body and the parameters, unless one of them is the document."""
        row, self.row = self.row, {}
        if not any(value is document for value in row.values()):
            free_row(row)

    def leave(self) -> None:
        """Its client has closed the connection."""
        self.has_left = True
        self.cancel()

    def cancel(self) -> None:
        """Nobody waits for it any more; whoever reads it will notice."""
        if not self.is_cancelled and not self.future.done():
            logger.info("request cancelled", extra={"request_id": self.id})
        self.is_cancelled = True

    def stream(self, line: bytes) -> None:
        """Send a part of the answer now; the reply's body follows at the end."""
        with self._lock:
            self._lines.append(line)
        self._news.set()

    @property
    def num_unsent_bytes(self) -> int:
        """Bytes of the answer that could be sent now."""
        body = self.future.result().body if self.future.done() else b""
        return self.num_line_bytes + len(body)

    @property
    def num_line_bytes(self) -> int:
        """Bytes that were streamed and are not sent yet."""
        with self._lock:
            return sum(map(len, self._lines))

    def take_lines(self, max_bytes: float = math.inf) -> bytes:
        """Remove and return streamed lines, until `max_bytes` are reached."""
        with self._lock:
            ends = enumerate(itertools.accumulate(map(len, self._lines)), 1)
            enough = (number for number, end in ends if end >= max_bytes)
            number = next(enough, len(self._lines))
            lines, self._lines = self._lines[:number], self._lines[number:]
        if self._lines:
            self._news.set()
        return b"".join(lines)


def free_row(row: Mapping[str, Any]) -> None:
    """Free the bytes in a row, to which TorchServe refers until the next call.

    Bytes with a view on them stay.
    """
    for value in row.values():
        if isinstance(value, bytearray):
            with contextlib.suppress(BufferError):
                value.clear()


def _arrival(headers: Mapping[str, str], now: float) -> float | None:
    """Return the arrival stamped by frontend/, in seconds of the monotonic clock.

    Returns None without a stamp, or if it lies in the future or a day back.
    """
    try:
        arrival = int(headers[ARRIVAL]) / 1e9
    except (KeyError, ValueError, OverflowError):
        return None
    return arrival if 0 <= now - arrival <= MAX_WAIT_SECONDS else None
