"""InvokeEndpoint and InvokeEndpointWithResponseStream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from deploy.emulator.backend import Backend
from deploy.emulator.containers import Container, wait_until_healthy
from deploy.emulator.http.exchange import (
    BrokenError,
    Exchange,
    LateError,
    NoAnswerError,
)
from deploy.emulator.http.wire import (
    EVENT_STREAM,
    Answer,
    Refusal,
    Request,
    error_frame,
    payload_frame,
)
from deploy.emulator.limits import Limits
from deploy.emulator.logs import Logs
from deploy.emulator.metrics import MICROSECONDS, Metrics
from deploy.emulator.served import ATTRIBUTES, Served, check

__all__ = ["FORWARDED", "Runtime"]

FORWARDED = (
    "Content-Type",
    "Accept",
    ATTRIBUTES,
    "X-Amzn-SageMaker-Inference-Id",
    "X-Amzn-SageMaker-Session-Id",
)
"""All that SageMaker lets through of a POST's headers."""
TARGETS = {
    "TargetModel": "X-Amzn-SageMaker-Target-Model",
    "TargetContainerHostname": "X-Amzn-SageMaker-Target-Container-Hostname",
    "InferenceComponentName": "X-Amzn-SageMaker-Inference-Component",
}
"""Parameters that only endpoints of another kind accept."""
TARGET_VARIANT = "X-Amzn-SageMaker-Target-Variant"
MAX_ORIGINAL_CHARACTERS = 10_000


class Runtime:
    """Real time: one container, and whoever asks waits."""

    def __init__(
        self,
        served: Callable[[str, str], Served],
        backend: Backend,
        limits: Limits,
        logs: Logs,
        metrics: Metrics,
    ) -> None:
        """`served(region, name)`; it refuses what is not there."""
        self._served = served
        self._backend = backend
        self._limits = limits
        self._logs = logs
        self._metrics = metrics

    def invoke(self, region: str, name: str, request: Request) -> Answer:
        """Raises Refusal."""
        began = time.monotonic()
        body = self._body(request)
        served = self._real_time(region, name)
        _check_targets(served, request)
        check(self._backend, region, "invoke_endpoint", request)
        headers = self._forwarded(served, request, "Accept")
        exchange = Exchange(served.container.address, self._limits.answer_seconds)
        try:
            with exchange:
                exchange.post(headers, body, length=len(body))
                content = exchange.read()
        except NoAnswerError as error:
            raise self._unanswered(served, error) from error
        finally:
            self._count(served, exchange, began)
        self._check(served, exchange, content)
        return Answer(200, self._headers(served, exchange, "Content-Type"), content)

    def stream(self, region: str, name: str, request: Request) -> Answer:
        """Raises Refusal; what fails later is the stream's last frame."""
        began = time.monotonic()
        body = self._body(request)
        served = self._real_time(region, name)
        _check_targets(served, request)
        check(self._backend, region, "invoke_endpoint_with_response_stream", request)
        headers = self._forwarded(served, request, "X-Amzn-SageMaker-Accept")
        exchange = Exchange(served.container.address, self._limits.stream_seconds)
        content = None
        try:
            exchange.post(headers, body, length=len(body))
            if exchange.status >= 400:
                content = exchange.read()
        except NoAnswerError as error:
            exchange.close()
            self._count(served, exchange, began)
            raise self._unanswered(served, error) from error
        if content is not None:
            exchange.close()
            self._count(served, exchange, began)
            self._check(served, exchange, content)
        answered = self._headers(served, exchange, "X-Amzn-SageMaker-Content-Type")
        return Answer(
            200,
            (("Content-Type", EVENT_STREAM), *answered),
            self._frames(served, exchange, began),
        )

    def _frames(
        self, served: Served, exchange: Exchange, began: float
    ) -> Iterator[bytes]:
        try:
            with exchange:
                yield from self._payloads(exchange)
        finally:
            self._count(served, exchange, began)

    @staticmethod
    def _payloads(exchange: Exchange) -> Iterator[bytes]:
        try:
            for chunk in exchange.chunks():
                yield payload_frame(chunk)
        except LateError:
            yield error_frame(
                "ModelStreamError",
                "The model did not finish its response in time.",
                ErrorCode="ModelInvocationTimeExceeded",
            )
        except BrokenError:
            yield error_frame(
                "ModelStreamError",
                "The connection to the model was closed.",
                ErrorCode="StreamBroken",
            )

    def _count(self, served: Served, exchange: Exchange, began: float) -> None:
        """Once it is closed: what SageMaker publishes of each invocation."""
        status, seconds = exchange.outcome
        overhead = max(0.0, time.monotonic() - began - seconds)
        self._metrics.answered(
            served.hosted,
            status,
            seconds,
            Invocations=1.0,
            # Of one machine.
            InvocationsPerInstance=1.0,
            InvocationModelErrors=float(not 200 <= status < 300),
            OverheadLatency=round(overhead * MICROSECONDS),
        )

    def _body(self, request: Request) -> bytes:
        limit = self._limits.body_bytes
        body = request.body.read_at_most(limit)
        if body is None:
            raise Refusal("413", f"HTTP content length exceeded {limit} bytes.", 413)
        return body

    def _real_time(self, region: str, name: str) -> Served:
        served = self._served(region, name)
        if served.hosted.asynchronous is not None:
            raise Refusal(
                "ValidationError",
                f"Endpoint {name} of account {served.hosted.account} is asynchronous: "
                "it takes InvokeEndpointAsync only.",
            )
        return served

    def _forwarded(
        self, served: Served, request: Request, accept: str
    ) -> dict[str, str]:
        """Headers for a container that is healthy; raises Refusal."""
        headers = {n: v for n in FORWARDED if (v := request.header(n)) is not None}
        headers.pop("Accept", None)
        if wanted := request.header(accept):
            headers["Accept"] = wanted
        if not self._is_healthy(served.container):
            raise Refusal(
                "ServiceUnavailable",
                f"no container of endpoint {served.hosted.name} is healthy",
                503,
            )
        return headers

    def _is_healthy(self, container: Container) -> bool:
        """SageMaker would not call the endpoint in service before; we wait for it."""
        if container.was_healthy:
            return container.is_healthy()
        ends_at = time.monotonic() + self._limits.answer_seconds
        return wait_until_healthy(container, lambda: time.monotonic() > ends_at)

    def _headers(
        self, served: Served, exchange: Exchange, content_type: str
    ) -> tuple[tuple[str, str], ...]:
        """Of a container's headers no others come back either."""
        sent = {
            content_type: exchange.headers.get("content-type"),
            ATTRIBUTES: exchange.headers.get(ATTRIBUTES.lower()),
            "x-Amzn-Invoked-Production-Variant": served.hosted.variant,
        }
        return tuple((name, value) for name, value in sent.items() if value is not None)

    def _check(self, served: Served, exchange: Exchange, content: bytes) -> None:
        if exchange.status < 400:
            return
        whose = "client" if exchange.status < 500 else "server"
        text = content.decode(errors="replace")[:MAX_ORIGINAL_CHARACTERS]
        raise self._model_error(
            served,
            f"Received {whose} error ({exchange.status}) from primary with message "
            f'"{text}".',
            exchange.status,
            text,
        )

    def _unanswered(self, served: Served, error: NoAnswerError) -> Refusal:
        why = (
            "Your invocation timed out while waiting for a response from container "
            "primary."
            if isinstance(error, LateError)
            else "The connection to container primary was closed."
        )
        return self._model_error(
            served,
            f'Received server error (0) from primary with message "{why}"',
            0,
            why,
        )

    def _model_error(
        self, served: Served, message: str, status: int, original: str
    ) -> Refusal:
        stream, hosted = served.stream, served.hosted
        self._logs.say(f"{hosted.name} | ModelError {status}")
        return Refusal(
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


def _check_targets(served: Served, request: Request) -> None:
    """Raise Refusal if the request names a variant or model that is not there."""
    hosted = served.hosted
    variant = request.header(TARGET_VARIANT)
    if variant not in (None, hosted.variant):
        raise Refusal(
            "ValidationError",
            f"Variant {variant} not found for endpoint {hosted.name} of account "
            f"{hosted.account}.",
        )
    for parameter, header in TARGETS.items():
        if request.header(header) is not None:
            raise Refusal(
                "ValidationError",
                f"Endpoint {hosted.name} of account {hosted.account} hosts one model: "
                f"it does not support {parameter}.",
            )
