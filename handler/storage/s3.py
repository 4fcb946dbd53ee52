"""Reads objects of S3 into files: in parts, several at once, and never two versions.

Whoever waits can stop at any time; a connection that hangs holds nobody up but its
own thread, and that for some seconds only.
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
"""What a thread holds at once: all the memory that reading takes."""
NUM_THREADS = 16
POLL_SECONDS = 0.1
CONNECT_SECONDS = 5
READ_SECONDS = 10
"""Of silence, not of the whole answer."""
MAX_ATTEMPTS = 3

_STATUSES_WITHOUT_REASON = (301, 400, 403)

Stop = Callable[[], HandlerError | None]
"""Why reading is to stop now; None: it is to go on."""


def never_stop() -> HandlerError | None:
    """A Stop for what is read to its end."""
    return None


@dataclass(frozen=True, slots=True)
class Head:
    """What an object is before any of it is read."""

    size: int
    etag: str
    content_encoding: str = ""
    """As its metadata say; S3 hands the bytes out as they were stored."""


class _BrokenOffError(Exception):
    """An answer of S3 ended early. boto3 tries requests again, but not these."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class ObjectReader:
    """Reads objects. Thread-safe; `num_threads` requests to S3 at once, whoever asks.

    `window` is how many of them one object may have, so that a large one leaves room
    for others. boto3 is imported and asked for credentials with the first object.
    """

    def __init__(
        self,
        *,
        num_threads: int = NUM_THREADS,
        window: int = 4,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self.part_bytes = part_bytes
        self._num_threads = num_threads
        self._window = window
        self._threads = ThreadPoolExecutor(num_threads, "s3")
        self._lock = threading.Lock()
        self._made: Any = None

    def head(self, address: Address, should_stop: Stop) -> Head:
        """Size and version; HandlerError where the object cannot be read."""
        answer = self._result(address, should_stop, lambda: self._head(address))
        return Head(
            answer["ContentLength"], answer["ETag"], answer.get("ContentEncoding", "")
        )

    def content(self, address: Address, max_bytes: int, should_stop: Stop) -> bytes:
        """The whole of a small object."""
        answer = self._ask(address, should_stop, "get_object")
        with contextlib.closing(answer["Body"]) as body:
            if answer["ContentLength"] > max_bytes:
                raise StorageError(f"{address} has more than {max_bytes:,} bytes")
            return bytes(self._result(address, should_stop, body.read))

    def names(self, address: Address, should_stop: Stop) -> Mapping[str, Head]:
        """Objects directly below a prefix, by what follows it."""

        def listed() -> dict[str, Head]:
            pages = self._client().get_paginator("list_objects_v2")
            return {
                item["Key"].removeprefix(address.key): Head(item["Size"], item["ETag"])
                for page in pages.paginate(
                    Bucket=address.bucket, Prefix=address.key, Delimiter="/"
                )
                for item in page.get("Contents", [])
            }

        found: dict[str, Head] = self._result(address, should_stop, listed)
        return found

    def parts(self, head: Head) -> range:
        """The numbers of an object's parts."""
        return range(-(-head.size // self.part_bytes))

    def read(
        self,
        address: Address,
        head: Head,
        descriptor: int,
        should_stop: Stop,
        *,
        parts: Iterable[int] | None = None,
        has_part: Callable[[int], None] = lambda number: None,
    ) -> None:
        """Write an object, or some parts of it, where they belong in a file.

        `has_part` is told of each part that is there. Raises what `should_stop` says,
        DocumentChangedError where the object is another meanwhile, or the HandlerError
        that S3's answer amounts to.
        """
        numbers = iter(self.parts(head) if parts is None else parts)
        is_over = threading.Event()
        # Each with a descriptor of its own: the caller may close the file, and its
        # number be another file's, while a thread still waits for S3.
        running: dict[Future[None], tuple[int, int]] = {}
        try:
            while True:
                while len(running) < self._window:
                    if (number := next(numbers, None)) is None:
                        break
                    copy = os.dup(descriptor)
                    future = self._threads.submit(
                        self._read_part, address, head, number, copy, is_over
                    )
                    running[future] = (number, copy)
                if not running:
                    return
                for future in _done(running, should_stop):
                    number, _ = running.pop(future)
                    future.result()
                    has_part(number)
        finally:
            is_over.set()
            for future, (_, copy) in running.items():
                if future.cancel():
                    os.close(copy)

    def close(self) -> None:
        """Read no more; parts on their way end by themselves."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._made is not None:
            self._made.close()

    def _read_part(
        self,
        address: Address,
        head: Head,
        number: int,
        descriptor: int,
        is_over: threading.Event,
    ) -> None:
        at = number * self.part_bytes
        end = min(at + self.part_bytes, head.size)
        num_failures = 0
        try:
            while at < end:
                try:
                    for chunk in self._chunks(address, head, at, end):
                        if is_over.is_set():
                            return
                        at += _write(descriptor, chunk, at)
                except _BrokenOffError as broken:
                    num_failures += 1
                    if num_failures == MAX_ATTEMPTS or is_over.wait(num_failures):
                        raise translate_error(broken.reason, address) from broken
        finally:
            os.close(descriptor)

    def _chunks(
        self, address: Address, head: Head, start: int, end: int
    ) -> Iterator[bytes]:
        """The bytes from `start` to `end`, or as many as come before it breaks."""
        try:
            answer = self._client().get_object(
                Bucket=address.bucket,
                Key=address.key,
                Range=f"bytes={start}-{end - 1}",
                # The same object throughout: never half of one and half of another.
                IfMatch=head.etag,
            )
        except Exception as error:
            raise translate_error(error, address) from error
        # A connection whose answer was not read to its end is good for nothing more.
        with contextlib.closing(answer["Body"]) as body:
            left = end - start
            if answer["ContentLength"] != left:
                raise DocumentChangedError(f"{address} has another size than it had")
            while left:
                try:
                    chunk = body.read(min(left, CHUNK_BYTES))
                except Exception as error:
                    raise _BrokenOffError(error) from error
                left -= len(chunk)
                yield chunk

    def _head(self, address: Address) -> Any:
        """Return the answer to a HEAD; of a refusal, the one that says why."""
        place = {"Bucket": address.bucket, "Key": address.key}
        try:
            return self._client().head_object(**place)
        except Exception as refusal:
            if _status_of(refusal) not in _STATUSES_WITHOUT_REASON:
                raise
            try:
                # Answers to HEAD have no body, so S3 cannot say why it refuses.
                self._client().get_object(**place, Range="bytes=0-0")["Body"].close()
            except Exception as reason:
                if _status_of(reason) == _status_of(refusal):
                    raise reason from None
            raise

    def _ask(self, address: Address, should_stop: Stop, operation: str) -> Any:
        def ask() -> Any:
            call = getattr(self._client(), operation)
            return call(Bucket=address.bucket, Key=address.key)

        return self._result(address, should_stop, ask)

    def _result(
        self, address: Address, should_stop: Stop, call: Callable[[], Any]
    ) -> Any:
        """What `call` returns in a thread of ours, or the HandlerError it raises."""
        future = self._threads.submit(call)
        try:
            _done([future], should_stop)
            return future.result()
        except HandlerError:
            future.cancel()
            raise
        except Exception as error:
            raise translate_error(error, address) from error

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                import boto3
                from botocore.config import Config

                session = boto3.session.Session()
                self._made = session.client(
                    "s3",
                    # SageMaker says where it runs by a name that boto3 does not read.
                    region_name=session.region_name or os.environ.get("AWS_REGION"),
                    config=Config(
                        connect_timeout=CONNECT_SECONDS,
                        read_timeout=READ_SECONDS,
                        retries={
                            "total_max_attempts": MAX_ATTEMPTS,
                            "mode": "standard",
                        },
                        max_pool_connections=self._num_threads,
                        # Of parts there are none.
                        response_checksum_validation="when_required",
                    ),
                )
            return self._made


def _done(futures: Iterable[Future[Any]], should_stop: Stop) -> set[Future[Any]]:
    """Those that are done, once there are some; raises where there is a reason to."""
    while True:
        if (reason := should_stop()) is not None:
            raise reason
        done, _ = wait(futures, POLL_SECONDS, FIRST_COMPLETED)
        if done:
            return done


def _status_of(error: Exception) -> int:
    response = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _write(descriptor: int, chunk: bytes, at: int) -> int:
    num_written = 0
    try:
        while num_written < len(chunk):
            num_written += os.pwrite(
                descriptor, memoryview(chunk)[num_written:], at + num_written
            )
    except OSError as error:
        raise OverloadedError(f"it cannot be kept here: {error.strerror}") from error
    return num_written
