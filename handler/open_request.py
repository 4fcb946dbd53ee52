"""A request that has come and has no answer yet, or only the beginning of one."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from handler.reply import Reply

__all__ = ["OpenRequest", "free_row"]

logger = logging.getLogger(__name__)


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
        """The body and parameters; freed once they are understood."""
        self.headers = headers
        self.received_at = time.monotonic()
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

    def let_go_of_row(self, document: object) -> None:
        """Free the body and the parameters, but for a part that is the document."""
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

    def take_lines(self) -> bytes:
        """What was streamed since the last call."""
        with self._lock:
            lines, self._lines = self._lines, []
        return b"".join(lines)


def free_row(row: Mapping[str, Any]) -> None:
    """Free the bytes in a row of TorchServe's, which refers to it for another call.

    Bytes of which there are views stay.
    """
    for value in row.values():
        if isinstance(value, bytearray):
            with contextlib.suppress(BufferError):
                value.clear()
