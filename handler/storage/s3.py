"""Reader of objects in S3 that downloads the parts of an object concurrently.

All parts of an object come from the same version. The caller can stop a download at
any time; a connection that hangs only blocks its own thread, for some seconds.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from handler.errors import (
    DocumentChangedError,
    HandlerError,
    OverloadedError,
    StorageError,
)
from handler.storage.addresses import Address
from handler.storage.s3_errors import translate_error

__all__ = ["Head", "ObjectReader", "Stop", "never_stop"]

PART_BYTES = 8 * 1024**2
CHUNK_BYTES = 1024**2
"""Size of one read; a download needs this much memory for each thread."""
NUM_THREADS = 16
POLL_SECONDS = 0.1
CONNECT_SECONDS = 5
READ_SECONDS = 10
"""Timeout for each read from the connection, not for the whole response."""
MAX_ATTEMPTS = 3

_STATUSES_WITHOUT_REASON = (301, 400, 403)

PositionalWrite = Callable[[int, memoryview, int], int]
"""Function that writes bytes to a descriptor at a position; returns their number."""
Stop = Callable[[], HandlerError | None]
"""Function that returns the error with which to stop reading, or None to continue."""


def never_stop() -> HandlerError | None:
    """Return None, as the Stop of a download that always runs to its end."""
    return None


@dataclass(frozen=True, slots=True)
class Head:
    """Size, version and encoding of an object."""

    size: int
    etag: str
    content_encoding: str = ""
    """Content encoding in the metadata; S3 returns the bytes as they were stored."""


class _BrokenOffError(Exception):
    """A response of S3 ended early, which boto3 does not retry."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class ObjectReader:
    """Reads objects with at most `num_threads` concurrent requests. Thread-safe.

    `window` limits the concurrent requests for one object, so that a large object
    leaves connections to others. boto3 is imported, and looks for credentials, when the
    first object is read. `pwrite` writes to files, with the signature of `os.pwrite`.
    """

    def __init__(
        self,
        *,
        num_threads: int = NUM_THREADS,
        window: int = 4,
        part_bytes: int = PART_BYTES,
        pwrite: PositionalWrite = os.pwrite,
    ) -> None:
        self.part_bytes = part_bytes
        self._pwrite = pwrite
        self._num_threads = num_threads
        self._window = window
        self._threads = ThreadPoolExecutor(num_threads, "s3")
        self._lock = threading.Lock()
        self._cached_client: Any = None

    def read_head(self, address: Address, should_stop: Stop) -> Head:
        """Return the head of an object; raise HandlerError if it cannot be read."""
        answer = self._run(address, should_stop, lambda: self._request_head(address))
        return Head(
            answer["ContentLength"], answer["ETag"], answer.get("ContentEncoding", "")
        )

    def read_content(
        self, address: Address, max_bytes: int, should_stop: Stop
    ) -> bytes:
        """Return the content of an object.

        Raises StorageError above `max_bytes`, and the HandlerError of a failed request.
        """
        answer = self._call_operation(address, should_stop, "get_object")
        with contextlib.closing(answer["Body"]) as body:
            if answer["ContentLength"] > max_bytes:
                raise StorageError(f"{address} has more than {max_bytes:,} bytes")
            return bytes(self._run(address, should_stop, body.read))

    def list_heads(self, address: Address, should_stop: Stop) -> Mapping[str, Head]:
        """Return the heads of all objects directly below a prefix, without encodings.

        The keys of the dictionary are the objects' keys without the prefix. Raises
        HandlerError if they cannot be listed.
        """

        def list_objects() -> dict[str, Head]:
            pages = self._client().get_paginator("list_objects_v2")
            return {
                item["Key"].removeprefix(address.key): Head(item["Size"], item["ETag"])
                for page in pages.paginate(
                    Bucket=address.bucket, Prefix=address.key, Delimiter="/"
                )
                for item in page.get("Contents", [])
            }

        heads: dict[str, Head] = self._run(address, should_stop, list_objects)
        return heads

    def part_numbers(self, head: Head) -> range:
        """Return the numbers of an object's parts, from 0."""
        return range(-(-head.size // self.part_bytes))

    def download(
        self,
        address: Address,
        head: Head,
        descriptor: int,
        should_stop: Stop,
        *,
        parts: Iterable[int] | None = None,
        on_part: Callable[[int], None] = lambda number: None,
    ) -> None:
        """Write an object, or some of its parts, at their positions in a file.

        `parts` are the numbers of the parts to download; None: all. `on_part` is called
        with the number of each part that is written. Raises the
        error that `should_stop` returns, DocumentChangedError if the object was
        replaced, or the HandlerError for an error response of S3.
        """
        numbers = iter(self.part_numbers(head) if parts is None else parts)
        is_stopped = threading.Event()
        # Each part has its own descriptor. Otherwise, while a thread waits for S3, the
        # caller may close the file, and its number be reused for another file.
        running: dict[Future[None], tuple[int, int]] = {}
        try:
            while True:
                while len(running) < self._window:
                    if (number := next(numbers, None)) is None:
                        break
                    copy = os.dup(descriptor)
                    future = self._threads.submit(
                        self._read_part, address, head, number, copy, is_stopped
                    )
                    running[future] = (number, copy)
                if not running:
                    return
                for future in _wait_for_any(running, should_stop):
                    number, _ = running.pop(future)
                    future.result()
                    on_part(number)
        finally:
            is_stopped.set()
            for future, (_, copy) in running.items():
                if future.cancel():
                    os.close(copy)

    def close(self) -> None:
        """Wait for running requests, cancel waiting ones, and close the client."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._cached_client is not None:
            self._cached_client.close()

    def _read_part(
        self,
        address: Address,
        head: Head,
        number: int,
        descriptor: int,
        is_stopped: threading.Event,
    ) -> None:
        """Write a part into the file, unless `is_stopped` is set; close `descriptor`.

        A response that breaks off is resumed where it ended.
        """
        at = number * self.part_bytes
        end = min(at + self.part_bytes, head.size)
        num_failures = 0
        try:
            while at < end:
                try:
                    for chunk in self._stream_range(address, head, at, end):
                        if is_stopped.is_set():
                            return
                        at += _write_at(descriptor, chunk, at, self._pwrite)
                except _BrokenOffError as broken:
                    num_failures += 1
                    if num_failures == MAX_ATTEMPTS or is_stopped.wait(num_failures):
                        raise translate_error(broken.reason, address) from broken
        finally:
            os.close(descriptor)

    def _stream_range(
        self, address: Address, head: Head, start: int, end: int
    ) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end`.

        Raises _BrokenOffError if the response ends early, and the HandlerError of a
        failed request.
        """
        try:
            answer = self._client().get_object(
                Bucket=address.bucket,
                Key=address.key,
                Range=f"bytes={start}-{end - 1}",
                # All parts must belong to the same version of the object.
                IfMatch=head.etag,
            )
        except Exception as error:
            raise translate_error(error, address) from error
        # A connection whose response was not read to its end cannot be reused.
        with contextlib.closing(answer["Body"]) as body:
            left = end - start
            if answer["ContentLength"] != left:
                raise DocumentChangedError(f"{address} changed its size")
            while left:
                try:
                    chunk = body.read(min(left, CHUNK_BYTES))
                except Exception as error:
                    raise _BrokenOffError(error) from error
                left -= len(chunk)
                yield chunk

    def _request_head(self, address: Address) -> Any:
        """Return the response to a HEAD request; raise an error with its reason.

        Responses to HEAD have no body, so S3 cannot give the reason of an error. A GET
        request for one byte then gets the reason.
        """
        place = {"Bucket": address.bucket, "Key": address.key}
        try:
            return self._client().head_object(**place)
        except Exception as refusal:
            if _status_of(refusal) not in _STATUSES_WITHOUT_REASON:
                raise
            try:
                self._client().get_object(**place, Range="bytes=0-0")["Body"].close()
            except Exception as reason:
                if _status_of(reason) == _status_of(refusal):
                    raise reason from None
            raise

    def _call_operation(
        self, address: Address, should_stop: Stop, operation: str
    ) -> Any:
        def call_client() -> Any:
            call = getattr(self._client(), operation)
            return call(Bucket=address.bucket, Key=address.key)

        return self._run(address, should_stop, call_client)

    def _run(self, address: Address, should_stop: Stop, call: Callable[[], Any]) -> Any:
        """Run `call` in a thread; return its result, or raise its error as
        HandlerError."""
        future = self._threads.submit(call)
        try:
            _wait_for_any([future], should_stop)
            return future.result()
        except HandlerError:
            future.cancel()
            raise
        except Exception as error:
            raise translate_error(error, address) from error

    def _client(self) -> Any:
        with self._lock:
            if self._cached_client is None:
                import boto3
                from botocore.config import Config

                session = boto3.session.Session()
                self._cached_client = session.client(
                    "s3",
                    # SageMaker sets the region in AWS_REGION, which boto3 does not
                    # read.
                    region_name=session.region_name or os.environ.get("AWS_REGION"),
                    config=Config(
                        connect_timeout=CONNECT_SECONDS,
                        read_timeout=READ_SECONDS,
                        retries={
                            "total_max_attempts": MAX_ATTEMPTS,
                            "mode": "standard",
                        },
                        max_pool_connections=self._num_threads,
                        # S3 has no checksums of byte ranges.
                        response_checksum_validation="when_required",
                    ),
                )
            return self._cached_client


def _wait_for_any(
    futures: Iterable[Future[Any]], should_stop: Stop
) -> set[Future[Any]]:
    """Wait until a future has finished and return the finished ones.

    Raises the error that `should_stop` returns.
    """
    while True:
        if (reason := should_stop()) is not None:
            raise reason
        done, _ = wait(futures, POLL_SECONDS, FIRST_COMPLETED)
        if done:
            return done


def _status_of(error: Exception) -> int:
    """Return the HTTP status of an error of boto3, or 0 if it has none."""
    response = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _write_at(
    descriptor: int, chunk: bytes, position: int, pwrite: PositionalWrite
) -> int:
    """Write a chunk at a position of a file and return its size.

    Raises OverloadedError if the disk is full.
    """
    num_written = 0
    try:
        while num_written < len(chunk):
            num_written += pwrite(
                descriptor, memoryview(chunk)[num_written:], position + num_written
            )
    except OSError as error:
        raise OverloadedError(
            f"the document cannot be written to disk: {error.strerror}"
        ) from error
    return num_written
