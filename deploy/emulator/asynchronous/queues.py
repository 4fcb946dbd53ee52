"""InvokeEndpointAsync: a queue for each endpoint, with limited concurrency.

Failed requests are not retried.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator

from deploy.emulator.asynchronous.processor import RequestProcessor
from deploy.emulator.asynchronous.request import AcceptedRequest
from deploy.emulator.backend import AsyncConfig, Backend, S3Uri
from deploy.emulator.containers import Container
from deploy.emulator.endpoint import (
    CUSTOM_ATTRIBUTES,
    HEADER_PREFIX,
    ServedEndpoint,
    check_parameters,
)
from deploy.emulator.http.wire import Request, Response, ServiceError
from deploy.emulator.limits import Assumptions, SageMakerLimits
from deploy.emulator.logs import Logs
from deploy.emulator.metrics import EmulatedMetrics, QueueLevel

__all__ = ["AsyncEndpoints"]


class EndpointQueue:
    """Queue of an endpoint, and the threads that process its requests."""

    def __init__(self) -> None:
        self.waiting: deque[AcceptedRequest] = deque()
        self.backlog: dict[AcceptedRequest, None] = {}
        """Requests that ApproximateBacklogSize counts, in order of arrival.

        In addition to `waiting`, it includes requests whose thread waits for a healthy
        container. A dict serves as an ordered set.
        """
        self.changed = threading.Condition()
        self.threads: list[threading.Thread] = []
        self.num_running = 0
        self.concurrency = 0
        """Number of threads that may process requests."""
        self.container: Container | None = None
        """None if the endpoint is deleted, or was not used yet."""


class AsyncEndpoints:
    """Asynchronous endpoints of all regions."""

    def __init__(
        self,
        find_endpoint: Callable[[str, str], ServedEndpoint],
        backend: Backend,
        logs: Logs,
        limits: SageMakerLimits,
        assumptions: Assumptions,
        metrics: EmulatedMetrics,
    ) -> None:
        self._find_endpoint = find_endpoint
        self._backend = backend
        self._logs = logs
        self._limits = limits
        self._assumptions = assumptions
        self._processor = RequestProcessor(
            find_endpoint, backend, logs, limits, metrics
        )
        self._lock = threading.Lock()
        self._queues: dict[tuple[str, str], EndpointQueue] = {}
        self._is_stopping = threading.Event()

    def invoke(self, region: str, name: str, request: Request) -> Response:
        """Queue a request; return a response with its output and failure locations.

        Starts the threads of the queue, if they do not run yet. Raises ServiceError if
        the request is invalid or the queue is full.
        """
        body = request.body.read_at_most(self._limits.inline_bytes)
        if body is None:
            raise ServiceError(
                "ValidationError",
                f"Body has more than {self._limits.inline_bytes} bytes; use "
                "InputLocation instead.",
            )
        served = self._find_endpoint(region, name)
        config = served.hosted.asynchronous
        if config is None:
            raise ServiceError(
                "ValidationError",
                f"Endpoint {name} of account {served.hosted.account} is not "
                "asynchronous: use InvokeEndpoint.",
            )
        accepted = self._parse_request(region, name, config, request, body)
        queue = self._get_queue(region, name)
        concurrency = config.concurrency or self._assumptions.concurrency
        with queue.changed:
            if len(queue.waiting) + queue.num_running >= self._limits.num_queued:
                raise ServiceError(
                    "ServiceUnavailable", "too many requests are waiting", 503
                )
            queue.concurrency = concurrency
            queue.waiting.append(accepted)
            queue.backlog[accepted] = None
            while len(queue.threads) < concurrency:
                thread = threading.Thread(
                    target=self._process_requests,
                    args=(queue, len(queue.threads)),
                    daemon=True,
                )
                queue.threads.append(thread)
                thread.start()
            queue.changed.notify()
        headers = [(f"{HEADER_PREFIX}OutputLocation", str(accepted.output))]
        if accepted.failure is not None:
            headers.append((f"{HEADER_PREFIX}FailureLocation", str(accepted.failure)))
        return Response(
            202,
            (("Content-Type", "application/json"), *headers),
            json.dumps({"InferenceId": accepted.inference_id}).encode(),
        )

    def track_endpoint(self, served: ServedEndpoint) -> None:
        """Publish metrics of an endpoint's queue from now on."""
        hosted = served.hosted
        self._get_queue(hosted.region, hosted.name).container = served.container

    def forget_endpoint(self, region: str, name: str) -> None:
        """Stop publishing metrics of an endpoint that was deleted."""
        self._get_queue(region, name).container = None

    def read_levels(self) -> Iterator[QueueLevel]:
        """Yield the current metrics of the queue of each tracked endpoint.

        Pings the containers of these endpoints.
        """
        with self._lock:
            queues = list(self._queues.items())
        for (region, name), queue in queues:
            if queue.container is None:
                continue
            has_capacity = queue.container.is_healthy()
            with queue.changed:
                size = len(queue.backlog)
                oldest = next(iter(queue.backlog), None)
            age = 0.0 if oldest is None else max(0.0, time.time() - oldest.received)
            yield QueueLevel(
                region,
                name,
                {
                    "ApproximateBacklogSize": size,
                    # Computed for one instance, even while there is none.
                    "ApproximateBacklogSizePerInstance": size,
                    "ApproximateAgeOfOldestRequest": round(age),
                    "HasBacklogWithoutCapacity": size > 0 and not has_capacity,
                },
            )

    def stop(self) -> None:
        """Abort running requests, drop waiting ones, and wait for the threads.

        The wait is at most 10 seconds for each thread.
        """
        self._is_stopping.set()
        self._processor.stop()
        with self._lock:
            queues = list(self._queues.values())
        for queue in queues:
            with queue.changed:
                queue.changed.notify_all()
            for thread in queue.threads:
                thread.join(10)

    def _get_queue(self, region: str, name: str) -> EndpointQueue:
        with self._lock:
            return self._queues.setdefault((region, name), EndpointQueue())

    def _parse_request(
        self,
        region: str,
        name: str,
        config: AsyncConfig,
        request: Request,
        body: bytes,
    ) -> AcceptedRequest:
        """Return the accepted request; raises ServiceError if it is invalid."""

        def get_parameter(key: str) -> str | None:
            return request.get_header(HEADER_PREFIX + key)

        location = get_parameter("InputLocation")
        if bool(body) == bool(location):
            raise ServiceError(
                "ValidationError", "Provide exactly one of Body and InputLocation."
            )
        try:
            document: bytes | S3Uri = S3Uri.parse(location) if location else body
        except ValueError as error:
            raise ServiceError("ValidationError", str(error)) from error
        check_parameters(self._backend, region, "invoke_endpoint_async", request)
        inference_id = get_parameter("Inference-Id") or str(uuid.uuid4())
        unique_name = str(uuid.uuid4())
        output, failure = config.output, config.failure
        if extension := get_parameter("S3OutputPathExtension"):
            output = output / extension.strip("/")
            failure = failure / extension.strip("/") if failure else None
        filename = get_parameter("Filename")
        failure_name = f"{filename or unique_name}{self._assumptions.failure_suffix}"
        headers = {
            "Content-Type": get_parameter("Content-Type"),
            "Accept": get_parameter("Accept"),
            CUSTOM_ATTRIBUTES: get_parameter("Custom-Attributes"),
            f"{HEADER_PREFIX}Inference-Id": inference_id,
        }
        return AcceptedRequest(
            inference_id=inference_id,
            region=region,
            endpoint=name,
            headers={n: v for n, v in headers.items() if v is not None},
            document=document,
            output=output / (filename or f"{unique_name}.out"),
            failure=failure / failure_name if failure else None,
            timeout_seconds=_parse_number(
                request, "InvocationTimeoutSeconds", 900, 1, 3600
            ),
            ttl_seconds=_parse_number(request, "RequestTTLSeconds", 21_600, 60, 21_600),
        )

    def _process_requests(self, queue: EndpointQueue, number: int) -> None:
        """Process requests of a queue until the emulator stops.

        Runs in the thread with this number, counted from 0. It pauses while the
        endpoint allows fewer concurrent requests.
        """
        while True:
            with queue.changed:
                queue.changed.wait_for(
                    lambda: (
                        self._is_stopping.is_set()
                        or (queue.waiting and number < queue.concurrency)
                    )
                )
                if self._is_stopping.is_set():
                    return
                accepted = queue.waiting.popleft()
                queue.num_running += 1
            try:
                self._processor.process(
                    accepted, lambda taken: self._leave_backlog(queue, taken)
                )
            except Exception as error:
                self._logs.print_line(
                    f"{accepted.endpoint} | {accepted.inference_id}: {error!r}"
                )
            finally:
                with queue.changed:
                    queue.num_running -= 1
                    queue.backlog.pop(accepted, None)

    def _leave_backlog(self, queue: EndpointQueue, accepted: AcceptedRequest) -> None:
        """Remove a dispatched request from the backlog, unless running ones count."""
        if not self._assumptions.backlog_counts_running:
            with queue.changed:
                queue.backlog.pop(accepted, None)


def _parse_number(
    request: Request, name: str, default: int, lowest: int, highest: int
) -> int:
    """Return the integer in a SageMaker header, or `default` if it is missing.

    Raises ServiceError if it is not between `lowest` and `highest`.
    """
    text = request.get_header(HEADER_PREFIX + name)
    if text is None:
        return default
    if not text.isdigit() or not lowest <= int(text) <= highest:
        raise ServiceError(
            "ValidationError",
            f"{name} must be a number from {lowest} to {highest}, not {text}.",
        )
    return int(text)
