"""HTTP requests to a container, with a deadline for the whole exchange."""

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
    "ConnectFailedError",
    "ConnectionBrokenError",
    "Invocation",
    "NoContentLengthError",
    "NoResponseError",
    "ResponseTimeoutError",
    "send_get_request",
]

CHUNK_BYTES = 64 * 1024


class NoResponseError(Exception):
    """The container sent no response, or an incomplete one."""


class ResponseTimeoutError(NoResponseError):
    """The response was not complete before the deadline."""


class ConnectionBrokenError(NoResponseError):
    """The connection was reset or closed, for example because the container died."""


class NoContentLengthError(NoResponseError):
    """The response has no Content-Length, which SageMaker requires to store it."""


class ConnectFailedError(ConnectionBrokenError):
    """The container accepted no connection, so it has not seen the request."""


class Invocation:
    """POST request to `/invocations`; a context manager that closes the connection.

    The timeout covers the whole exchange and starts when the object is created. Methods
    raise NoResponseError.
    """

    def __init__(self, address: str, timeout_seconds: float) -> None:
        self._connection = _create_connection(address, timeout_seconds + 5)
        self._is_aborted = self._is_late = False
        self._socket: socket.socket | None = None
        self._response: http.client.HTTPResponse | None = None
        self._timer = threading.Timer(timeout_seconds, self._time_out)
        self._timer.daemon = True
        self._timer.start()
        self._sent_at = self._ended_at = time.monotonic()
        self._is_broken = False
        self.status = 0
        self.headers: dict[str, str] = {}
        """Response headers, with names in lower case."""

    @property
    def outcome(self) -> tuple[int, float]:
        """Status and duration in seconds, once the invocation is closed.

        The status is 0 if there was no complete response.
        """
        status = 0 if self._is_broken else self.status
        return status, self._ended_at - self._sent_at

    def post(
        self,
        headers: Mapping[str, str],
        body: bytes | IO[bytes],
        *,
        length: int | None,
    ) -> None:
        """Send the request, and wait for the response headers.

        `length` is the size of the body, or None to send it chunked.
        """
        request_headers = dict(headers)
        if length is not None:
            request_headers["Content-Length"] = str(length)
        else:
            request_headers["Transfer-Encoding"] = "chunked"
        self._sent_at = time.monotonic()
        try:
            self._connection.connect()
        except OSError as error:
            self._is_broken = True
            raise ConnectFailedError(
                f"the container does not listen: {error}"
            ) from error
        try:
            # http.client drops the socket if the response says Connection: close.
            self._socket = self._connection.sock
            if self._is_aborted:
                self.abort()
            # A container that rejects a large body early closes the connection while
            # the body is sent; its response can still be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.request(
                    "POST",
                    "/invocations",
                    body,
                    request_headers,
                    encode_chunked=length is None,
                )
            self._response = self._connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._to_error(error) from error
        self.status = self._response.status
        self.headers = {n.lower(): v for n, v in self._response.getheaders()}

    def __enter__(self) -> Invocation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_chunks(self) -> Iterator[bytes]:
        """Yield the response body in chunks, as they arrive."""
        assert self._response is not None
        try:
            while chunk := self._response.read1(CHUNK_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._to_error(error) from error
        # http.client raises no error if a body of known length ends early.
        if self._is_late or self._response.length:
            raise self._to_error(None)

    def read(self) -> bytes:
        """Return the whole response body."""
        return b"".join(self.read_chunks())

    def read_object(self) -> bytes:
        """Return the whole body of a response that is stored in S3.

        Raises NoContentLengthError if it has no Content-Length.
        """
        if "content-length" not in self.headers:
            raise NoContentLengthError("the response has no Content-Length")
        return self.read()

    def abort(self) -> None:
        """Abort the exchange; may be called from any thread."""
        self._is_aborted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._timer.cancel()
        if self._response is not None:
            self._response.close()
        self._connection.close()
        self._ended_at = time.monotonic()

    def _time_out(self) -> None:
        self._is_late = True
        self.abort()

    def _to_error(self, error: Exception | None) -> NoResponseError:
        self._is_broken = True
        if self._is_late or isinstance(error, TimeoutError):
            return ResponseTimeoutError(
                "the response of the container was not complete in time"
            )
        return ConnectionBrokenError(f"the connection to the container broke: {error}")


def send_get_request(
    address: str, path: str, timeout_seconds: float
) -> tuple[int, bytes] | None:
    """Send a GET request; return status and body, or None without a response."""
    connection = _create_connection(address, timeout_seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _create_connection(
    address: str, timeout_seconds: float
) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    return http.client.HTTPConnection(
        parts.hostname or "127.0.0.1",
        parts.port or 80,
        timeout=timeout_seconds,
        blocksize=CHUNK_BYTES,
    )
