"""Real-time invocations: InvokeEndpoint and InvokeEndpointWithResponseStream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from deploy.emulator.backend import Backend
from deploy.emulator.containers import wait_until_healthy
from deploy.emulator.endpoint import CUSTOM_ATTRIBUTES, ServedEndpoint, check_parameters
from deploy.emulator.http.invocation import (
    ConnectionBrokenError,
    Invocation,
    NoResponseError,
    ResponseTimeoutError,
)
from deploy.emulator.http.wire import (
    EVENT_STREAM,
    Request,
    Response,
    ServiceError,
    build_error_frame,
    build_payload_frame,
)
from deploy.emulator.limits import SageMakerLimits
from deploy.emulator.logs import Logs
from deploy.emulator.metrics import MICROSECONDS, EmulatedMetrics

__all__ = ["FORWARDED_HEADERS", "RealTimeRuntime"]

FORWARDED_HEADERS = (
    "Content-Type",
    "Accept",
    CUSTOM_ATTRIBUTES,
    "X-Amzn-SageMaker-Inference-Id",
    "X-Amzn-SageMaker-Session-Id",
)
"""Request headers that SageMaker forwards to the container."""
TARGET_HEADERS = {
    "TargetModel": "X-Amzn-SageMaker-Target-Model",
    "TargetContainerHostname": "X-Amzn-SageMaker-Target-Container-Hostname",
    "InferenceComponentName": "X-Amzn-SageMaker-Inference-Component",
}
"""Parameters of multi-model endpoints and inference components."""
TARGET_VARIANT = "X-Amzn-SageMaker-Target-Variant"
MAX_ORIGINAL_CHARACTERS = 10_000


class RealTimeRuntime:
    """Handler of real-time invocations, which wait for the container's response."""

    def __init__(
        self,
        find_endpoint: Callable[[str, str], ServedEndpoint],
        backend: Backend,
        limits: SageMakerLimits,
        logs: Logs,
        metrics: EmulatedMetrics,
    ) -> None:
        """`find_endpoint(region, name)` raises ServiceError if it does not exist."""
        self._find_endpoint = find_endpoint
        self._backend = backend
        self._limits = limits
        self._logs = logs
        self._metrics = metrics

    def invoke(self, region: str, name: str, request: Request) -> Response:
        """Send a request to the container and return its response.

        Raises ServiceError if the request is invalid, no container is healthy, or the
        container does not respond with success in time.
        """
        started_at = time.monotonic()
        body = self._read_body(request)
        served = self._find_real_time_endpoint(region, name)
        _check_targets(served, request)
        check_parameters(self._backend, region, "invoke_endpoint", request)
        headers = self._select_headers(request, "Accept")
        self._require_healthy(served)
        invocation = Invocation(served.container.address, self._limits.answer_seconds)
        try:
            with invocation:
                invocation.post(headers, body, length=len(body))
                content = invocation.read()
        except NoResponseError as error:
            raise self._to_no_response_error(served, error) from error
        finally:
            self._count_invocation(served, invocation, started_at)
        self._require_success(served, invocation, content)
        return Response(
            200,
            self._build_response_headers(served, invocation, "Content-Type"),
            content,
        )

    def stream(self, region: str, name: str, request: Request) -> Response:
        """Return a response whose body is an event stream; raises ServiceError.

        The body is read from the container while it is sent. If it breaks off, an error
        becomes the last frame of the stream.
        """
        started_at = time.monotonic()
        body = self._read_body(request)
        served = self._find_real_time_endpoint(region, name)
        _check_targets(served, request)
        check_parameters(
            self._backend, region, "invoke_endpoint_with_response_stream", request
        )
        headers = self._select_headers(request, "X-Amzn-SageMaker-Accept")
        self._require_healthy(served)
        invocation = Invocation(served.container.address, self._limits.stream_seconds)
        content = None
        try:
            invocation.post(headers, body, length=len(body))
            if invocation.status >= 400:
                content = invocation.read()
        except NoResponseError as error:
            invocation.close()
            self._count_invocation(served, invocation, started_at)
            raise self._to_no_response_error(served, error) from error
        if content is not None:
            invocation.close()
            self._count_invocation(served, invocation, started_at)
            self._require_success(served, invocation, content)
        response_headers = self._build_response_headers(
            served, invocation, "X-Amzn-SageMaker-Content-Type"
        )
        return Response(
            200,
            (("Content-Type", EVENT_STREAM), *response_headers),
            self._write_frames(served, invocation, started_at),
        )

    def _write_frames(
        self, served: ServedEndpoint, invocation: Invocation, started_at: float
    ) -> Iterator[bytes]:
        try:
            with invocation:
                yield from self._read_frames(invocation)
        finally:
            self._count_invocation(served, invocation, started_at)

    @staticmethod
    def _read_frames(invocation: Invocation) -> Iterator[bytes]:
        try:
            for chunk in invocation.read_chunks():
                yield build_payload_frame(chunk)
        except ResponseTimeoutError:
            yield build_error_frame(
                "ModelStreamError",
                "The model did not finish its response in time.",
                ErrorCode="ModelInvocationTimeExceeded",
            )
        except ConnectionBrokenError:
            yield build_error_frame(
                "ModelStreamError",
                "The connection to the model was closed.",
                ErrorCode="StreamBroken",
            )

    def _count_invocation(
        self, served: ServedEndpoint, invocation: Invocation, started_at: float
    ) -> None:
        """Count a closed invocation in the metrics that SageMaker publishes."""
        status, seconds = invocation.outcome
        overhead = max(0.0, time.monotonic() - started_at - seconds)
        self._metrics.count_invocation(
            served.hosted,
            status,
            seconds,
            Invocations=1.0,
            # The emulator has one instance.
            InvocationsPerInstance=1.0,
            InvocationModelErrors=float(not 200 <= status < 300),
            OverheadLatency=round(overhead * MICROSECONDS),
        )

    def _read_body(self, request: Request) -> bytes:
        """Return the body; raises ServiceError if it exceeds the limit."""
        limit = self._limits.body_bytes
        body = request.body.read_at_most(limit)
        if body is None:
            raise ServiceError(
                "413", f"HTTP content length exceeded {limit} bytes.", 413
            )
        return body

    def _find_real_time_endpoint(self, region: str, name: str) -> ServedEndpoint:
        """Return an endpoint; raises ServiceError if it is missing or asynchronous."""
        served = self._find_endpoint(region, name)
        if served.hosted.asynchronous is not None:
            raise ServiceError(
                "ValidationError",
                f"Endpoint {name} of account {served.hosted.account} is asynchronous: "
                "use InvokeEndpointAsync.",
            )
        return served

    @staticmethod
    def _select_headers(request: Request, accept_header: str) -> dict[str, str]:
        """Return the headers to forward.

        `accept_header` names the request header with the accepted content types.
        """
        headers = {
            n: v for n in FORWARDED_HEADERS if (v := request.get_header(n)) is not None
        }
        headers.pop("Accept", None)
        if accepted := request.get_header(accept_header):
            headers["Accept"] = accepted
        return headers

    def _require_healthy(self, served: ServedEndpoint) -> None:
        """Raise ServiceError unless the container is healthy.

        Waits for a container that is starting, because SageMaker would not report its
        endpoint as in service yet.
        """
        container = served.container
        if container.was_healthy:
            is_healthy = container.is_healthy()
        else:
            ends_at = time.monotonic() + self._limits.answer_seconds
            is_healthy = wait_until_healthy(
                container, lambda: time.monotonic() > ends_at
            )
        if not is_healthy:
            raise ServiceError(
                "ServiceUnavailable",
                f"no container of endpoint {served.hosted.name} is healthy",
                503,
            )

    def _build_response_headers(
        self, served: ServedEndpoint, invocation: Invocation, content_type_header: str
    ) -> tuple[tuple[str, str], ...]:
        """Return the response headers; SageMaker drops all others of the container.

        `content_type_header` names the response header that holds the content type.
        """
        headers = {
            content_type_header: invocation.headers.get("content-type"),
            CUSTOM_ATTRIBUTES: invocation.headers.get(CUSTOM_ATTRIBUTES.lower()),
            "x-Amzn-Invoked-Production-Variant": served.hosted.variant,
        }
        return tuple(
            (name, value) for name, value in headers.items() if value is not None
        )

    def _require_success(
        self, served: ServedEndpoint, invocation: Invocation, content: bytes
    ) -> None:
        """Raise the ServiceError for a response with an error status."""
        if invocation.status < 400:
            return
        source = "client" if invocation.status < 500 else "server"
        text = content.decode(errors="replace")[:MAX_ORIGINAL_CHARACTERS]
        raise self._to_model_error(
            served,
            f"Received {source} error ({invocation.status}) from primary with message "
            f'"{text}".',
            invocation.status,
            text,
        )

    def _to_no_response_error(
        self, served: ServedEndpoint, error: NoResponseError
    ) -> ServiceError:
        reason = (
            "Your invocation timed out while waiting for a response from container "
            "primary."
            if isinstance(error, ResponseTimeoutError)
            else "The connection to container primary was closed."
        )
        return self._to_model_error(
            served,
            f'Received server error (0) from primary with message "{reason}"',
            0,
            reason,
        )

    def _to_model_error(
        self, served: ServedEndpoint, message: str, status: int, original: str
    ) -> ServiceError:
        """Return the error for a failed invocation, and print its status."""
        stream, hosted = served.stream, served.hosted
        self._logs.print_line(f"{hosted.name} | ModelError {status}")
        return ServiceError(
            "ModelError",
            f"{message} See {stream.group} in account {hosted.account} for more "
            "information.",
            424,
            {
                "OriginalStatusCode": status,
                "OriginalMessage": original,
                "LogStreamArn": f"arn:aws:logs:{stream.region}:{hosted.account}:"
                f"log-group:{stream.group}",
            },
        )


def _check_targets(served: ServedEndpoint, request: Request) -> None:
    """Raise ServiceError if the request names a variant or model that is missing."""
    hosted = served.hosted
    variant = request.get_header(TARGET_VARIANT)
    if variant not in (None, hosted.variant):
        raise ServiceError(
            "ValidationError",
            f"Variant {variant} not found for endpoint {hosted.name} of account "
            f"{hosted.account}.",
        )
    for parameter, header in TARGET_HEADERS.items():
        if request.get_header(header) is not None:
            raise ServiceError(
                "ValidationError",
                f"Endpoint {hosted.name} of account {hosted.account} hosts one model: "
                f"it does not support {parameter}.",
            )
