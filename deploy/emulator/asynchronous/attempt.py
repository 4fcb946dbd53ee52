"""One asynchronous request, from its document to its object and its notification.

It is tried once. Whatever happens has an end that the caller can see.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from deploy.emulator.asynchronous.notices import notice
from deploy.emulator.backend import AsyncConfig, Backend, S3Uri
from deploy.emulator.containers import wait_until_healthy
from deploy.emulator.http.exchange import (
    Exchange,
    LateError,
    NoAnswerError,
    NoLengthError,
    RefusedError,
)
from deploy.emulator.http.wire import Refusal
from deploy.emulator.limits import Limits
from deploy.emulator.logs import Logs
from deploy.emulator.metrics import MICROSECONDS, MILLISECONDS, Metrics
from deploy.emulator.served import Served
from deploy.errors import DeployError

__all__ = ["Attempts", "Job"]

SEE_LOGS = "See the SageMaker Endpoint logs in your account for more information."


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One accepted request; equal to itself alone."""

    inference_id: str
    region: str
    endpoint: str
    headers: dict[str, str]
    """For the container."""
    document: bytes | S3Uri
    output: S3Uri
    failure: S3Uri | None
    timeout_seconds: int
    ttl_seconds: int
    received: float = field(default_factory=time.time)


class FailedError(Exception):
    """One request failed; `content` is what its failure object holds, `metric` where
    such failures are counted beside InvocationFailures.
    """

    def __init__(
        self, reason: str, content: bytes | None = None, *, metric: str | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.content = content if content is not None else reason.encode()
        self.metric = metric


class Attempts:
    """Made from any thread; `stop` breaks off what runs."""

    def __init__(
        self,
        served: Callable[[str, str], Served],
        backend: Backend,
        logs: Logs,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._served = served
        self._backend = backend
        self._logs = logs
        self._limits = limits
        self._metrics = metrics
        self._lock = threading.Lock()
        self._running: set[Exchange] = set()
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        self._is_stopping.set()
        with self._lock:
            running = list(self._running)
        for exchange in running:
            exchange.abort()

    def make(self, job: Job, taken: Callable[[Job], None] = lambda job: None) -> None:
        """To an object, or a failure object; and to a notification.

        `taken` is told when it goes to the container, and waits no longer.
        """
        try:
            served = self._served(job.region, job.endpoint)
        except Refusal as refusal:
            self._logs.say(f"{job.endpoint} | {job.inference_id}: {refusal.message}")
            return
        config = served.hosted.asynchronous
        if config is None:
            return
        try:
            content, content_type = self._ask(job, served, taken)
            self._backend.put(job.region, job.output, content, content_type)
        except Exception as error:  # one request never harms another
            if not self._is_stopping.is_set():
                self._failed(job, served, config, _failure_of(error, job))
            return
        self._logs.sagemaker(
            served.stream, "Inference request succeeded", f" [{job.inference_id}]"
        )
        self._notify(served, config.success_topic, job, content, content_type)
        self._count_done(job, served)

    def _count_done(self, job: Job, served: Served) -> None:
        seconds = max(0.0, time.time() - job.received)
        self._metrics.add(
            served.hosted,
            InvocationsProcessed=1.0,
            TotalProcessingTime=round(seconds * MILLISECONDS),
        )

    def _ask(
        self, job: Job, served: Served, taken: Callable[[Job], None]
    ) -> tuple[bytes, str]:
        """Body and type of the container's answer; raises FailedError."""
        expires_at = job.received + job.ttl_seconds

        def is_over() -> bool:
            return self._is_stopping.is_set() or time.time() > expires_at

        while True:
            # One that is being replaced gets nothing: what waits, waits.
            if not wait_until_healthy(served.container, is_over) or is_over():
                if is_over():
                    raise FailedError(
                        f"ClientError: The request expired after {job.ttl_seconds} s "
                        "in the queue.",
                        metric="ExpiredRequests",
                    )
                raise FailedError(f"ServerError: {served.container.failure}")
            taken(job)
            try:
                return self._send(job, served)
            except RefusedError:
                # It died before it could be asked.
                served = self._served(job.region, job.endpoint)

    def _send(self, job: Job, served: Served) -> tuple[bytes, str]:
        document, size = self._open(job)
        if size > self._limits.object_bytes:
            raise FailedError(
                f"ClientError: The document has more than {self._limits.object_bytes} "
                "bytes."
            )
        waited = max(0.0, time.time() - job.received)
        exchange = Exchange(served.container.address, job.timeout_seconds)
        with self._lock:
            self._running.add(exchange)
        try:
            with exchange:
                exchange.post(job.headers, document, length=size)
                content = exchange.read_object()
        except RefusedError:
            raise
        except NoAnswerError as error:
            self._count_asked(served, exchange, waited)
            raise FailedError(_reason_for(error, job)) from error
        finally:
            with self._lock:
                self._running.discard(exchange)
        self._count_asked(served, exchange, waited)
        if exchange.status >= 400:
            whose = "client" if exchange.status < 500 else "server"
            raise FailedError(
                f"ClientError: Received {whose} error ({exchange.status}) from model. "
                f"{SEE_LOGS}",
                content,
            )
        kind = exchange.headers.get("content-type", "application/octet-stream")
        return content, kind

    def _open(self, job: Job) -> tuple[Any, int]:
        if isinstance(job.document, bytes):
            return job.document, len(job.document)
        try:
            return self._backend.open(job.region, job.document)
        except DeployError as error:
            raise FailedError(
                f"ClientError: Could not access S3 uri {job.document}: {error.message}",
                metric="RequestDownloadFailures",
            ) from error

    def _count_asked(self, served: Served, exchange: Exchange, waited: float) -> None:
        self._metrics.answered(
            served.hosted,
            *exchange.outcome,
            TimeInBacklog=round(waited * MICROSECONDS),
        )

    def _failed(
        self, job: Job, served: Served, config: AsyncConfig, failed: FailedError
    ) -> None:
        counted = {"InvocationFailures": 1.0}
        if failed.metric is not None:
            counted[failed.metric] = 1.0
        self._metrics.add(served.hosted, **counted)
        self._logs.sagemaker(served.stream, failed.reason, f" [{job.inference_id}]")
        if job.failure is not None:
            try:
                self._backend.put(job.region, job.failure, failed.content)
            except DeployError as error:
                self._logs.say(f"{job.endpoint} | {job.failure}: {error.message}")
        self._notify(
            served, config.error_topic, job, failed.content, None, failed.reason
        )
        self._count_done(job, served)

    def _notify(
        self,
        served: Served,
        topic: str | None,
        job: Job,
        content: bytes,
        content_type: str | None,
        failure: str | None = None,
    ) -> None:
        config = served.hosted.asynchronous
        if topic is None or config is None:
            return
        is_included = (
            f"{'ERROR' if failure else 'SUCCESS'}_NOTIFICATION_TOPIC"
            in config.topics_with_response
            and len(content) <= self._limits.notified_bytes
        )
        message = notice(
            region=job.region,
            endpoint=job.endpoint,
            inference_id=job.inference_id,
            received=datetime.fromtimestamp(job.received, UTC),
            now=datetime.now(UTC),
            headers=job.headers,
            document=None if isinstance(job.document, bytes) else str(job.document),
            output=str(job.output),
            content_type=content_type,
            failure=failure,
            content=content if is_included else None,
        )
        if (wrong := self._backend.publish(topic, message)) is not None:
            self._metrics.add(served.hosted, NotificationFailures=1.0)
            self._logs.say(f"{job.endpoint} | {topic}: {wrong}")


def _reason_for(error: NoAnswerError, job: Job) -> str:
    match error:
        case LateError():
            seconds = job.timeout_seconds
            return f"ServerError: Model did not respond within {seconds} seconds."
        case NoLengthError():
            return (
                "ServerError: The response of the model has no Content-Length header. "
                "Asynchronous inference requires one."
            )
    return f"ServerError: Unable to get a response from the model. {SEE_LOGS}"


def _failure_of(error: Exception, job: Job) -> FailedError:
    if isinstance(error, FailedError):
        return error
    if isinstance(error, DeployError):
        return FailedError(
            f"ClientError: Could not write to {job.output}: {error.message}",
            metric="ResponseUploadFailures",
        )
    return FailedError(f"InternalServerError: {error!r}")
