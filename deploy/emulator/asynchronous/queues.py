"""InvokeEndpointAsync: a queue for each endpoint, and as many requests at once as it
says. Nothing is tried twice.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator

from deploy.emulator.asynchronous.attempt import Attempts, Job
from deploy.emulator.backend import AsyncConfig, Backend, S3Uri
from deploy.emulator.containers import Container
from deploy.emulator.http.wire import Answer, Refusal, Request
from deploy.emulator.limits import Assumed, Limits
from deploy.emulator.logs import Logs
from deploy.emulator.metrics import Level, Metrics
from deploy.emulator.served import ATTRIBUTES, PREFIX, Served, check

__all__ = ["Asynchronous"]


class Queue:
    """Of one endpoint: what waits, and the threads that take from it."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.backlog: dict[Job, None] = {}
        """In order of arrival; also who has a thread and waits for a container."""
        self.changed = threading.Condition()
        self.threads: list[threading.Thread] = []
        self.num_running = 0
        self.concurrency = 0
        self.container: Container | None = None
        """None where its endpoint is gone."""


class Asynchronous:
    """All asynchronous endpoints."""

    def __init__(
        self,
        served: Callable[[str, str], Served],
        backend: Backend,
        logs: Logs,
        limits: Limits,
        assumed: Assumed,
        metrics: Metrics,
    ) -> None:
        self._served = served
        self._backend = backend
        self._logs = logs
        self._limits = limits
        self._assumed = assumed
        self._attempts = Attempts(served, backend, logs, limits, metrics)
        self._lock = threading.Lock()
        self._queues: dict[tuple[str, str], Queue] = {}
        self._is_stopping = threading.Event()

    # What the caller sees.

    def invoke(self, region: str, name: str, request: Request) -> Answer:
        """202 and where the answer will be; raises Refusal."""
        body = request.body.read_at_most(self._limits.inline_bytes)
        if body is None:
            raise Refusal(
                "ValidationError",
                f"Body has more than {self._limits.inline_bytes} bytes; give an "
                "InputLocation instead.",
            )
        served = self._served(region, name)
        config = served.hosted.asynchronous
        if config is None:
            raise Refusal(
                "ValidationError",
                f"Endpoint {name} of account {served.hosted.account} is not "
                "asynchronous: it takes InvokeEndpoint only.",
            )
        job = self._job(region, name, config, request, body)
        queue = self._queue(region, name)
        concurrency = config.concurrency or self._assumed.concurrency
        with queue.changed:
            if len(queue.jobs) + queue.num_running >= self._limits.num_queued:
                raise Refusal("ServiceUnavailable", "too many requests wait", 503)
            queue.concurrency = concurrency
            queue.jobs.append(job)
            queue.backlog[job] = None
            while len(queue.threads) < concurrency:
                thread = threading.Thread(
                    target=self._work, args=(queue, len(queue.threads)), daemon=True
                )
                queue.threads.append(thread)
                thread.start()
            queue.changed.notify()
        headers = [(f"{PREFIX}OutputLocation", str(job.output))]
        if job.failure is not None:
            headers.append((f"{PREFIX}FailureLocation", str(job.failure)))
        return Answer(
            202,
            (("Content-Type", "application/json"), *headers),
            json.dumps({"InferenceId": job.inference_id}).encode(),
        )

    def backlog(self, region: str, name: str) -> tuple[int, int]:
        """Requests that wait, and that run."""
        queue = self._queue(region, name)
        with queue.changed:
            return len(queue.jobs), queue.num_running

    def know(self, served: Served) -> None:
        """Of an endpoint that was spoken of: its queue is told of from then on."""
        hosted = served.hosted
        self._queue(hosted.region, hosted.name).container = served.container

    def forget(self, region: str, name: str) -> None:
        """Its endpoint is deleted."""
        self._queue(region, name).container = None

    def levels(self) -> Iterator[Level]:
        """What SageMaker publishes of each queue, now."""
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
            yield Level(
                region,
                name,
                {
                    "ApproximateBacklogSize": size,
                    # Of one machine, also while there is none.
                    "ApproximateBacklogSizePerInstance": size,
                    "ApproximateAgeOfOldestRequest": round(age),
                    "HasBacklogWithoutCapacity": size > 0 and not has_capacity,
                },
            )

    def stop(self) -> None:
        """What runs is broken off, what waits is forgotten: the emulator ends."""
        self._is_stopping.set()
        self._attempts.stop()
        with self._lock:
            queues = list(self._queues.values())
        for queue in queues:
            with queue.changed:
                queue.changed.notify_all()
            for thread in queue.threads:
                thread.join(10)

    def _queue(self, region: str, name: str) -> Queue:
        with self._lock:
            return self._queues.setdefault((region, name), Queue())

    def _job(
        self,
        region: str,
        name: str,
        config: AsyncConfig,
        request: Request,
        body: bytes,
    ) -> Job:
        def given(key: str) -> str | None:
            return request.header(PREFIX + key)

        location = given("InputLocation")
        if bool(body) == bool(location):
            raise Refusal(
                "ValidationError", "Provide exactly one of Body and InputLocation."
            )
        try:
            document: bytes | S3Uri = S3Uri.of(location) if location else body
        except ValueError as error:
            raise Refusal("ValidationError", str(error)) from error
        check(self._backend, region, "invoke_endpoint_async", request)
        inference_id = given("Inference-Id") or str(uuid.uuid4())
        file = str(uuid.uuid4())
        output, failure = config.output, config.failure
        if extension := given("S3OutputPathExtension"):
            output = output / extension.strip("/")
            failure = failure / extension.strip("/") if failure else None
        chosen = given("Filename")
        failed = f"{chosen or file}{self._assumed.failure_suffix}"
        sent = {
            "Content-Type": given("Content-Type"),
            "Accept": given("Accept"),
            ATTRIBUTES: given("Custom-Attributes"),
            f"{PREFIX}Inference-Id": inference_id,
        }
        return Job(
            inference_id=inference_id,
            region=region,
            endpoint=name,
            headers={n: v for n, v in sent.items() if v is not None},
            document=document,
            output=output / (chosen or f"{file}.out"),
            failure=failure / failed if failure else None,
            timeout_seconds=_number(request, "InvocationTimeoutSeconds", 900, 1, 3600),
            ttl_seconds=_number(request, "RequestTTLSeconds", 21_600, 60, 21_600),
        )

    # What happens then.

    def _work(self, queue: Queue, number: int) -> None:
        while True:
            with queue.changed:
                queue.changed.wait_for(
                    lambda: (
                        self._is_stopping.is_set()
                        or (queue.jobs and number < queue.concurrency)
                    )
                )
                if self._is_stopping.is_set():
                    return
                job = queue.jobs.popleft()
                queue.num_running += 1
            try:
                self._attempts.make(job, lambda job: self._taken(queue, job))
            except Exception as error:
                self._logs.say(f"{job.endpoint} | {job.inference_id}: {error!r}")
            finally:
                with queue.changed:
                    queue.num_running -= 1
                    queue.backlog.pop(job, None)

    def _taken(self, queue: Queue, job: Job) -> None:
        if not self._assumed.backlog_counts_running:
            with queue.changed:
                queue.backlog.pop(job, None)


def _number(request: Request, name: str, otherwise: int, least: int, most: int) -> int:
    text = request.header(PREFIX + name)
    if text is None:
        return otherwise
    if not text.isdigit() or not least <= int(text) <= most:
        raise Refusal(
            "ValidationError", f"{name} is a number from {least} to {most}, not {text}."
        )
    return int(text)
