"""InvokeEndpointAsync: a queue for each endpoint, and as many requests at once as it
says. Nothing is tried twice.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from deploy.errors import DeployError
from deploy.local.backend import AsyncConfig, Backend, S3Uri
from deploy.local.containers import wait_until_healthy
from deploy.local.exchange import Exchange, LateError, NoAnswerError
from deploy.local.limits import Assumed, Limits
from deploy.local.logs import Logs
from deploy.local.notices import notice
from deploy.local.served import ATTRIBUTES, Served, check_attributes
from deploy.local.wire import Answer, Refusal, Request

__all__ = ["Asynchronous", "Job"]

PREFIX = "X-Amzn-SageMaker-"
SEE_LOGS = "See the SageMaker Endpoint logs in your account for more information."


@dataclass(frozen=True, slots=True)
class Job:
    """One accepted request."""

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
    """One request failed; `content` is what its failure object holds."""

    def __init__(self, reason: str, content: bytes | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.content = content if content is not None else reason.encode()


class Queue:
    """Of one endpoint: what waits, and the threads that take from it."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.changed = threading.Condition()
        self.threads: list[threading.Thread] = []
        self.num_running = 0
        self.concurrency = 0


class Asynchronous:
    """All asynchronous endpoints."""

    def __init__(
        self,
        served: Callable[[str, str], Served],
        backend: Backend,
        logs: Logs,
        limits: Limits,
        assumed: Assumed,
    ) -> None:
        self._served = served
        self._backend = backend
        self._logs = logs
        self._limits = limits
        self._assumed = assumed
        self._lock = threading.Lock()
        self._queues: dict[tuple[str, str], Queue] = {}
        self._running: set[Exchange] = set()
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

    def stop(self) -> None:
        """What runs is broken off, what waits is forgotten: the emulator ends."""
        self._is_stopping.set()
        with self._lock:
            queues, running = list(self._queues.values()), list(self._running)
        for exchange in running:
            exchange.abort()
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
        check_attributes(given("Custom-Attributes"))
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
                self._run(job)
            except Exception as error:
                self._logs.say(f"{job.endpoint} | {job.inference_id}: {error!r}")
            finally:
                with queue.changed:
                    queue.num_running -= 1

    def _run(self, job: Job) -> None:
        """To an object, or a failure object; and to a notification."""
        try:
            served = self._served(job.region, job.endpoint)
        except Refusal as refusal:
            self._logs.say(f"{job.endpoint} | {job.inference_id}: {refusal.message}")
            return
        config = served.hosted.asynchronous
        if config is None:
            return
        try:
            content, content_type = self._ask(job, served)
            self._backend.put(job.region, job.output, content, content_type)
        except Exception as error:  # one request never harms another
            if not self._is_stopping.is_set():
                self._failed(job, served, config, _failure_of(error, job))
            return
        self._logs.sagemaker(
            served.stream, "Inference request succeeded", f" [{job.inference_id}]"
        )
        self._notify(config.success_topic, config, job, content, content_type)

    def _ask(self, job: Job, served: Served) -> tuple[bytes, str]:
        """Body and type of the container's answer; raises FailedError."""
        expires_at = job.received + job.ttl_seconds

        def is_over() -> bool:
            return self._is_stopping.is_set() or time.time() > expires_at

        # One that is being replaced gets nothing: what waits, waits.
        if not wait_until_healthy(served.container, is_over) or is_over():
            raise FailedError(
                f"ClientError: The request expired after {job.ttl_seconds} s in the "
                "queue."
                if is_over()
                else f"ServerError: {served.container.failure}"
            )
        document, size = self._open(job)
        if size > self._limits.object_bytes:
            raise FailedError(
                f"ClientError: The document has more than {self._limits.object_bytes} "
                "bytes."
            )
        exchange = Exchange(served.container.address, job.timeout_seconds)
        with self._lock:
            self._running.add(exchange)
        try:
            with exchange:
                exchange.post(job.headers, document, length=size)
                content = exchange.read()
        except LateError as error:
            raise FailedError(
                "ServerError: Model did not respond within "
                f"{job.timeout_seconds} seconds."
            ) from error
        except NoAnswerError as error:
            raise FailedError(
                f"ServerError: Unable to get a response from the model. {SEE_LOGS}"
            ) from error
        finally:
            with self._lock:
                self._running.discard(exchange)
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
                f"ClientError: Could not access S3 uri {job.document}: {error.message}"
            ) from error

    def _failed(
        self, job: Job, served: Served, config: AsyncConfig, failed: FailedError
    ) -> None:
        self._logs.sagemaker(served.stream, failed.reason, f" [{job.inference_id}]")
        if job.failure is not None:
            try:
                self._backend.put(job.region, job.failure, failed.content)
            except DeployError as error:
                self._logs.say(f"{job.endpoint} | {job.failure}: {error.message}")
        self._notify(
            config.error_topic, config, job, failed.content, None, failed.reason
        )

    def _notify(
        self,
        topic: str | None,
        config: AsyncConfig,
        job: Job,
        content: bytes,
        content_type: str | None,
        failure: str | None = None,
    ) -> None:
        if topic is None:
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
            self._logs.say(f"{job.endpoint} | {topic}: {wrong}")


def _failure_of(error: Exception, job: Job) -> FailedError:
    if isinstance(error, FailedError):
        return error
    if isinstance(error, DeployError):
        return FailedError(
            f"ClientError: Could not write to {job.output}: {error.message}"
        )
    return FailedError(f"InternalServerError: {error!r}")


def _number(request: Request, name: str, otherwise: int, least: int, most: int) -> int:
    text = request.header(PREFIX + name)
    if text is None:
        return otherwise
    if not text.isdigit() or not least <= int(text) <= most:
        raise Refusal(
            "ValidationError", f"{name} is a number from {least} to {most}, not {text}."
        )
    return int(text)
