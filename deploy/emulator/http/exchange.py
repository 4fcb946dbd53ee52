"""One request to a container: timed as a whole, and to be broken off at any time."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import IO
from urllib.parse import urlsplit

__all__ = [
    "BrokenError",
    "Exchange",
    "LateError",
    "NoAnswerError",
    "NoLengthError",
    "RefusedError",
    "get",
]

CHUNK_BYTES = 64 * 1024


class NoAnswerError(Exception):
    """The container gave none, or only its beginning."""


class LateError(NoAnswerError):
    """It was not done in time."""


class BrokenError(NoAnswerError):
    """The connection was reset or closed, as when a container dies."""


class NoLengthError(NoAnswerError):
    """The answer has no Content-Length, and SageMaker stores none without."""


class RefusedError(BrokenError):
    """There was no connection at all: the container knows nothing of it."""


class Exchange:
    """A POST to `/invocations`; a context, which leaves no connection behind.

    The clock runs from its making. Raises NoAnswerError.
    """

    def __init__(self, address: str, timeout_seconds: float) -> None:
        self._connection = _connection(address, timeout_seconds + 5)
        self._is_over = self._is_late = False
        self._socket: socket.socket | None = None
        self._response: http.client.HTTPResponse | None = None
        self._timer = threading.Timer(timeout_seconds, self._give_up)
        self._timer.daemon = True
        self._timer.start()
        self._asked_at = self._ended_at = time.monotonic()
        self._is_broken = False
        self.status = 0
        self.headers: dict[str, str] = {}
        """Of the answer, in lower case."""

    @property
    def outcome(self) -> tuple[int, float]:
        """Its status, 0 where an answer never came or not to its end; and the seconds
        that the container took. Known once it is closed.
        """
        status = 0 if self._is_broken else self.status
        return status, self._ended_at - self._asked_at

    def post(
        self,
        headers: Mapping[str, str],
        body: bytes | IO[bytes],
        *,
        length: int | None,
    ) -> None:
        """Send it and wait for the answer's head; `length` None: sent in chunks."""
        sent = dict(headers)
        if length is not None:
            sent["Content-Length"] = str(length)
        else:
            sent["Transfer-Encoding"] = "chunked"
        self._asked_at = time.monotonic()
        try:
            self._connection.connect()
        except OSError as error:
            self._is_broken = True
            raise RefusedError(f"the container does not listen: {error}") from error
        try:
            # http.client forgets it once the answer says that it will be closed.
            self._socket = self._connection.sock
            if self._is_over:
                self.abort()
            # Refused early, a large body breaks the pipe, and the answer is there.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.request(
                    "POST", "/invocations", body, sent, encode_chunked=length is None
                )
            self._response = self._connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._fault(error) from error
        self.status = self._response.status
        self.headers = {n.lower(): v for n, v in self._response.getheaders()}

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def chunks(self) -> Iterator[bytes]:
        """The answer's body as it comes."""
        assert self._response is not None
        try:
            while chunk := self._response.read1(CHUNK_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._fault(error) from error
        # A body of known length that ends early ends in silence.
        if self._is_late or self._response.length:
            raise self._fault(None)

    def read(self) -> bytes:
        """The answer's whole body."""
        return b"".join(self.chunks())

    def read_object(self) -> bytes:
        """Return the whole body of an answer that is to be stored in S3.

        Raises NoLengthError if it has no Content-Length.
        """
        if "content-length" not in self.headers:
            raise NoLengthError("the answer has no Content-Length")
        return self.read()

    def abort(self) -> None:
        """Break it off, from whichever thread."""
        self._is_over = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._timer.cancel()
        if self._response is not None:
            self._response.close()
        self._connection.close()
        self._ended_at = time.monotonic()

    def _give_up(self) -> None:
        self._is_late = True
        self.abort()

    def _fault(self, error: Exception | None) -> NoAnswerError:
        self._is_broken = True
        if self._is_late or isinstance(error, TimeoutError):
            return LateError("the container was not done in time")
        return BrokenError(f"the connection to the container broke: {error}")


def get(address: str, path: str, timeout_seconds: float) -> tuple[int, bytes] | None:
    """Status and body of a GET; None where nobody answers in time."""
    connection = _connection(address, timeout_seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _connection(address: str, timeout_seconds: float) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    return http.client.HTTPConnection(
        parts.hostname or "127.0.0.1",
        parts.port or 80,
        timeout=timeout_seconds,
        blocksize=CHUNK_BYTES,
    )
