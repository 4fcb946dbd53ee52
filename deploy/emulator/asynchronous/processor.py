"""Processing of asynchronous requests: invocation, result object, notification.

A request is sent to the container once. Every outcome, including errors of the
emulator, becomes an output object, or a failure object and a log line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from deploy.emulator.asynchronous.notification import build_notification
from deploy.emulator.asynchronous.request import AcceptedRequest, RequestOutcome
from deploy.emulator.backend import AsyncConfig, Backend
from deploy.emulator.containers import wait_until_healthy
from deploy.emulator.endpoint import ServedEndpoint
from deploy.emulator.http.invocation import (
    ConnectFailedError,
    Invocation,
    NoContentLengthError,
    NoResponseError,
    ResponseTimeoutError,
)
from deploy.emulator.http.wire import ServiceError
from deploy.emulator.limits import SageMakerLimits
from deploy.emulator.logs import Logs
from deploy.emulator.metrics import MICROSECONDS, MILLISECONDS, EmulatedMetrics
from deploy.errors import DeployError

__all__ = ["RequestProcessor"]

SEE_LOGS = "See the SageMaker Endpoint logs in your account for more information."


class RequestFailedError(Exception):
    """A request failed, with the content of its failure object.

    `metric` is counted in addition to InvocationFailures.
    """

    def __init__(
        self, reason: str, content: bytes | None = None, *, metric: str | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.content = content if content is not None else reason.encode()
        self.metric = metric


class RequestProcessor:
    """Processor of accepted requests, for any thread."""

    def __init__(
        self,
        find_endpoint: Callable[[str, str], ServedEndpoint],
        backend: Backend,
        logs: Logs,
        limits: SageMakerLimits,
        metrics: EmulatedMetrics,
    ) -> None:
        self._find_endpoint = find_endpoint
        self._backend = backend
        self._logs = logs
        self._limits = limits
        self._metrics = metrics
        self._lock = threading.Lock()
        self._invocations: set[Invocation] = set()
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        """Abort running requests; nothing is stored or published about them."""
        self._is_stopping.set()
        with self._lock:
            invocations = list(self._invocations)
        for invocation in invocations:
            invocation.abort()

    def process(
        self,
        request: AcceptedRequest,
        on_dispatch: Callable[[AcceptedRequest], None] = lambda request: None,
    ) -> None:
        """Invoke the model, store the outcome, and publish a notification.

        `on_dispatch` is called each time the request is about to be sent to a
        container, and no longer waits. A failure is stored and published too. Nothing
        is stored if the endpoint was deleted or the processor stops.
        """
        try:
            served = self._find_endpoint(request.region, request.endpoint)
        except ServiceError as error:
            self._logs.print_line(
                f"{request.endpoint} | {request.inference_id}: {error.message}"
            )
            return
        config = served.hosted.asynchronous
        if config is None:
            return
        try:
            content, content_type = self._invoke_until_answered(
                request, served, on_dispatch
            )
            self._backend.put_object(
                request.region, request.output, content, content_type
            )
        except Exception as error:  # the other requests must not be affected
            if not self._is_stopping.is_set():
                self._report_failure(
                    request, served, config, _to_failure(error, request)
                )
            return
        self._logs.write_sagemaker(
            served.stream, "Inference request succeeded", f" [{request.inference_id}]"
        )
        self._notify(
            served, config.success_topic, request, RequestOutcome(content, content_type)
        )
        self._count_processed(request, served)

    def _count_processed(
        self, request: AcceptedRequest, served: ServedEndpoint
    ) -> None:
        seconds = max(0.0, time.time() - request.received)
        self._metrics.add(
            served.hosted,
            InvocationsProcessed=1.0,
            TotalProcessingTime=round(seconds * MILLISECONDS),
        )

    def _invoke_until_answered(
        self,
        request: AcceptedRequest,
        served: ServedEndpoint,
        on_dispatch: Callable[[AcceptedRequest], None],
    ) -> tuple[bytes, str]:
        """Return body and content type of the container's response.

        A request that reached no container is sent to the next healthy one. Raises
        RequestFailedError.
        """
        expires_at = request.received + request.ttl_seconds

        def is_cancelled() -> bool:
            return self._is_stopping.is_set() or time.time() > expires_at

        while True:
            # While a container is being replaced, requests stay in the queue.
            if not wait_until_healthy(served.container, is_cancelled) or is_cancelled():
                if is_cancelled():
                    raise RequestFailedError(
                        f"ClientError: The request expired after "
                        f"{request.ttl_seconds} s in the queue.",
                        metric="ExpiredRequests",
                    )
                raise RequestFailedError(f"ServerError: {served.container.failure}")
            on_dispatch(request)
            try:
                return self._invoke(request, served)
            except ConnectFailedError:
                # The container died before it received the request.
                served = self._find_endpoint(request.region, request.endpoint)

    def _invoke(
        self, request: AcceptedRequest, served: ServedEndpoint
    ) -> tuple[bytes, str]:
        document, size = self._open_input(request)
        if size > self._limits.object_bytes:
            raise RequestFailedError(
                f"ClientError: The document has more than {self._limits.object_bytes} "
                "bytes."
            )
        waited_seconds = max(0.0, time.time() - request.received)
        invocation = Invocation(served.container.address, request.timeout_seconds)
        with self._lock:
            self._invocations.add(invocation)
        try:
            with invocation:
                invocation.post(request.headers, document, length=size)
                content = invocation.read_object()
        except ConnectFailedError:
            raise
        except NoResponseError as error:
            self._count_invocation(served, invocation, waited_seconds)
            raise RequestFailedError(
                _describe_missing_response(error, request)
            ) from error
        finally:
            with self._lock:
                self._invocations.discard(invocation)
        self._count_invocation(served, invocation, waited_seconds)
        if invocation.status >= 400:
            source = "client" if invocation.status < 500 else "server"
            raise RequestFailedError(
                f"ClientError: Received {source} error ({invocation.status}) from "
                f"model. {SEE_LOGS}",
                content,
            )
        content_type = invocation.headers.get(
            "content-type", "application/octet-stream"
        )
        return content, content_type

    def _open_input(self, request: AcceptedRequest) -> tuple[Any, int]:
        """Return the document, as bytes or a file, and its size in bytes.

        Raises RequestFailedError if it cannot be read.
        """
        if isinstance(request.document, bytes):
            return request.document, len(request.document)
        try:
            return self._backend.open_object(request.region, request.document)
        except DeployError as error:
            raise RequestFailedError(
                f"ClientError: Could not access S3 uri {request.document}: "
                f"{error.message}",
                metric="RequestDownloadFailures",
            ) from error

    def _count_invocation(
        self, served: ServedEndpoint, invocation: Invocation, waited_seconds: float
    ) -> None:
        self._metrics.count_invocation(
            served.hosted,
            *invocation.outcome,
            TimeInBacklog=round(waited_seconds * MICROSECONDS),
        )

    def _report_failure(
        self,
        request: AcceptedRequest,
        served: ServedEndpoint,
        config: AsyncConfig,
        failed: RequestFailedError,
    ) -> None:
        """Count, log, store and publish the failure of a request."""
        metrics = {"InvocationFailures": 1.0}
        if failed.metric is not None:
            metrics[failed.metric] = 1.0
        self._metrics.add(served.hosted, **metrics)
        self._logs.write_sagemaker(
            served.stream, failed.reason, f" [{request.inference_id}]"
        )
        if request.failure is not None:
            try:
                self._backend.put_object(
                    request.region, request.failure, failed.content
                )
            except DeployError as error:
                self._logs.print_line(
                    f"{request.endpoint} | {request.failure}: {error.message}"
                )
        outcome = RequestOutcome(failed.content, failure_reason=failed.reason)
        self._notify(served, config.error_topic, request, outcome)
        self._count_processed(request, served)

    def _notify(
        self,
        served: ServedEndpoint,
        topic: str | None,
        request: AcceptedRequest,
        outcome: RequestOutcome,
    ) -> None:
        """Publish the outcome to a topic; do nothing if there is no topic."""
        config = served.hosted.asynchronous
        if topic is None or config is None:
            return
        kind = "ERROR" if outcome.failure_reason else "SUCCESS"
        is_content_included = (
            f"{kind}_NOTIFICATION_TOPIC" in config.topics_with_response
            and len(outcome.content) <= self._limits.notified_bytes
        )
        message = build_notification(
            request, outcome, is_content_included=is_content_included
        )
        if (error_message := self._backend.publish(topic, message)) is not None:
            self._metrics.add(served.hosted, NotificationFailures=1.0)
            self._logs.print_line(f"{request.endpoint} | {topic}: {error_message}")


def _describe_missing_response(error: NoResponseError, request: AcceptedRequest) -> str:
    match error:
        case ResponseTimeoutError():
            seconds = request.timeout_seconds
            return f"ServerError: Model did not respond within {seconds} seconds."
        case NoContentLengthError():
            return (
                "ServerError: The response of the model has no Content-Length header. "
                "Asynchronous inference requires one."
            )
    return f"ServerError: Unable to get a response from the model. {SEE_LOGS}"


def _to_failure(error: Exception, request: AcceptedRequest) -> RequestFailedError:
    """Return the failure of a request that an exception ended."""
    if isinstance(error, RequestFailedError):
        return error
    if isinstance(error, DeployError):
        return RequestFailedError(
            f"ClientError: Could not write to {request.output}: {error.message}",
            metric="ResponseUploadFailures",
        )
    return RequestFailedError(f"InternalServerError: {error!r}")
