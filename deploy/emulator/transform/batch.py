"""Run of a batch transform job: sends its objects to a container, stores results."""

from __future__ import annotations

import io
import json
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

from deploy.emulator.backend import Backend, S3Uri
from deploy.emulator.containers import Container, wait_until_healthy
from deploy.emulator.http.invocation import (
    ConnectFailedError,
    Invocation,
    NoContentLengthError,
    NoResponseError,
    send_get_request,
)
from deploy.emulator.limits import MIB, Assumptions, SageMakerLimits
from deploy.emulator.logs import Logs, LogStream
from deploy.emulator.transform.inputs import (
    InputError,
    InputObject,
    list_input_objects,
    open_input,
    split_payloads,
)
from deploy.emulator.transform.jobs import EmulatedJob
from deploy.emulator.transform.settings import BatchSettings
from deploy.errors import DeployError

__all__ = ["BatchRun"]

SPOOL_BYTES = 8 * MIB
STOP_POLL_SECONDS = 0.2
CLIENT_ERROR = "ClientError: See job logs for more information"
ALGORITHM_ERROR = "AlgorithmError: See job logs for more information"


class JobStoppedError(Exception):
    """The job was stopped."""


class ObjectFailedError(Exception):
    """An object failed; `failure_reason` is the FailureReason of its job."""

    def __init__(
        self, text: str, failure_reason: str, detail: str | None = None
    ) -> None:
        super().__init__(text)
        self.failure_reason = failure_reason
        self.detail = detail


class BatchRun:
    """Run of one batch transform job."""

    def __init__(
        self,
        job: EmulatedJob,
        container: Container,
        stream: LogStream,
        *,
        backend: Backend,
        logs: Logs,
        limits: SageMakerLimits,
        assumptions: Assumptions,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sleep = sleep
        self._job = job
        self._container = container
        self._stream = stream
        self._backend = backend
        self._logs = logs
        self._limits = limits
        self._assumptions = assumptions
        self._lock = threading.Lock()
        self._invocations: set[Invocation] = set()
        self._source = job.request["TransformInput"]
        self._target = job.request["TransformOutput"]

    def run(self) -> str | None:
        """Transform all objects, and store their results.

        Returns the FailureReason of the job, or None if all objects succeeded. If the
        job is to stop, the rest is skipped and the value has no meaning.
        """
        job = self._job
        try:
            output = S3Uri.parse(self._target["S3OutputPath"])
            objects = list_input_objects(
                self._backend,
                job.region,
                self._source["DataSource"]["S3DataSource"],
                naming=self._assumptions.output_naming,
            )
        except (InputError, DeployError, ValueError) as error:
            return f"ClientError: {error}"
        if not objects:
            uri = self._source["DataSource"]["S3DataSource"]["S3Uri"]
            return f"ClientError: No S3 objects found under {uri}"
        if not wait_until_healthy(self._container, job.stop_requested.is_set):
            return f"AlgorithmError: {self._container.failure}"
        job.record_start()
        settings = BatchSettings.resolve(job.request, self._get_execution_parameters())
        self._log(
            f"MaxConcurrentTransforms={settings.concurrency}, "
            f"MaxPayloadInMB={settings.payload_mb}, BatchStrategy={settings.strategy}"
        )
        watcher = threading.Thread(target=self._abort_when_stopped, daemon=True)
        watcher.start()
        with (
            ThreadPoolExecutor(settings.concurrency) as requests,
            ThreadPoolExecutor(settings.concurrency) as readers,
        ):
            failures = list(
                readers.map(
                    lambda input_object: self._process_object(
                        input_object, output, settings, requests
                    ),
                    objects,
                )
            )
        return next((failure for failure in failures if failure), None)

    def _get_execution_parameters(self) -> dict[str, Any]:
        """Return the parameters that the container proposes, empty if it has none."""
        response = send_get_request(
            self._container.address, "/execution-parameters", 10
        )
        if response is None or response[0] != 200:
            return {}
        try:
            parameters = json.loads(response[1])
        except ValueError:
            return {}
        return parameters if isinstance(parameters, dict) else {}

    def _process_object(
        self,
        input_object: InputObject,
        output: S3Uri,
        settings: BatchSettings,
        requests: ThreadPoolExecutor,
    ) -> str | None:
        """Transform an object, and store its result if all of it succeeded.

        Returns a FailureReason, or None if it succeeded or the job was stopped.
        """
        try:
            if self._job.stop_requested.is_set():
                return None
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as results:
                self._transform_object(input_object, settings, requests, results)
                if self._job.stop_requested.is_set():
                    return None
                results.seek(0)
                self._backend.put_object(
                    self._job.region,
                    output / f"{input_object.name}.out",
                    results,
                    self._target.get("Accept"),
                )
        except JobStoppedError:
            return None
        except ObjectFailedError as error:
            self._log(f"{input_object}: {error}")
            if error.detail:
                self._log(f"{input_object}: Message:")
                for line in error.detail.splitlines():
                    self._log(f"{input_object}: {line}")
            return error.failure_reason
        except InputError as error:
            self._log(f"{input_object}: {error}")
            return CLIENT_ERROR
        except DeployError as error:
            self._log(f"{input_object}: {error.message}")
            return CLIENT_ERROR
        except Exception as error:  # the other objects must not be affected
            self._log(f"{input_object}: {error!r}")
            return "InternalServerError: We encountered an internal error."
        return None

    def _transform_object(
        self,
        input_object: InputObject,
        settings: BatchSettings,
        requests: ThreadPoolExecutor,
        results: IO[bytes],
    ) -> None:
        """Send the requests of an object, and write their responses in order."""
        content, size = self._backend.open_object(self._job.region, input_object.uri)
        is_gzip = self._source.get("CompressionType", "None") == "Gzip"
        is_split = self._source.get("SplitType", "None") == "Line"
        if not is_split and not is_gzip:
            _require_size_within_limit(size, settings)
        with open_input(content, is_gzip=is_gzip) as file:
            if is_split:
                self._transform_lines(file, settings, requests, results)
                return
            size = file.seek(0, io.SEEK_END)
            _require_size_within_limit(size, settings)
            length = None if settings.max_payload_bytes is None else size
            future = requests.submit(self._invoke_with_retries, file, length, settings)
            results.write(future.result() + self._result_separator)

    def _transform_lines(
        self,
        file: IO[bytes],
        settings: BatchSettings,
        requests: ThreadPoolExecutor,
        results: IO[bytes],
    ) -> None:
        """Send the lines of a file as requests, and write the responses in order."""
        pending: deque[Future[bytes]] = deque()
        try:
            for payload in split_payloads(
                file,
                max_bytes=settings.max_payload_bytes,
                is_packed=settings.strategy == "MULTI_RECORD",
                keeps_newlines=self._assumptions.keeps_newlines,
            ):
                length = None if settings.max_payload_bytes is None else len(payload)
                pending.append(
                    requests.submit(
                        self._invoke_with_retries, io.BytesIO(payload), length, settings
                    )
                )
                if len(pending) >= settings.concurrency:
                    results.write(pending.popleft().result() + self._result_separator)
            while pending:
                results.write(pending.popleft().result() + self._result_separator)
        finally:
            for future in pending:
                future.cancel()

    @property
    def _result_separator(self) -> bytes:
        return b"\n" if self._target.get("AssembleWith") == "Line" else b""

    def _invoke_with_retries(
        self, payload: IO[bytes], length: int | None, settings: BatchSettings
    ) -> bytes:
        """Return the container's response, with SageMaker's retries.

        This loop imitates the retries of SageMaker and therefore does not use the
        retries of the deployment commands: the job sets their number, and statuses
        decide. A refused connection does not count as a retry. Raises
        ObjectFailedError after the last retry or if the container has failed, and
        JobStoppedError.
        """
        stop_requested = self._job.stop_requested
        num_retries = 0
        while True:
            self._wait_for_container()
            payload.seek(0)
            try:
                status, content = self._send(payload, length, settings.timeout_seconds)
            except ConnectFailedError:
                # The container died before it received the request.
                continue
            except NoResponseError as error:
                if stop_requested.is_set():
                    raise JobStoppedError from error
                failure = ObjectFailedError(
                    "Unable to get response from algorithm", ALGORITHM_ERROR, str(error)
                )
                is_retryable = not isinstance(error, NoContentLengthError)
            else:
                if status < 400:
                    return content
                failure = _error_for_status(status, content)
                is_retryable = self._assumptions.is_retried(status)
            if not is_retryable or num_retries == settings.max_retries:
                raise failure
            num_retries += 1
            stop_requested.wait(self._assumptions.retry_seconds)

    def _wait_for_container(self) -> None:
        """Wait until the container is healthy, so that no attempt is wasted.

        Raises ObjectFailedError if the container has failed, and JobStoppedError if the
        job is to stop.
        """
        if wait_until_healthy(self._container, self._job.stop_requested.is_set):
            return
        if self._job.stop_requested.is_set():
            raise JobStoppedError
        raise ObjectFailedError(
            "Unable to get response from algorithm", ALGORITHM_ERROR
        )

    def _send(
        self, payload: IO[bytes], length: int | None, seconds: float
    ) -> tuple[int, bytes]:
        """Send one request; return the status and the body of the response.

        Raises NoResponseError, and JobStoppedError if the job is to stop.
        """
        headers = {}
        if content_type := self._source.get("ContentType"):
            headers["Content-Type"] = content_type
        if accept := self._target.get("Accept"):
            headers["Accept"] = accept
        invocation = Invocation(self._container.address, seconds)
        with self._lock:
            self._invocations.add(invocation)
        try:
            if self._job.stop_requested.is_set():
                raise JobStoppedError
            with invocation:
                invocation.post(headers, payload, length=length)
                return invocation.status, invocation.read_object()
        finally:
            with self._lock:
                self._invocations.discard(invocation)

    def _abort_when_stopped(self) -> None:
        """Abort running requests once the job is to stop; return when it has ended."""
        while self._job.ended is None:
            if self._job.stop_requested.wait(STOP_POLL_SECONDS):
                with self._lock:
                    running = list(self._invocations)
                for invocation in running:
                    invocation.abort()
                self._sleep(STOP_POLL_SECONDS)

    def _log(self, text: str) -> None:
        self._logs.write_sagemaker(self._stream, text)


def _require_size_within_limit(size: int, settings: BatchSettings) -> None:
    """Raise InputError if an object exceeds the payload limit of its job."""
    if settings.max_payload_bytes is not None and size > settings.max_payload_bytes:
        raise InputError("Too much data for max payload size")


def _error_for_status(status: int, content: bytes) -> ObjectFailedError:
    detail = content.decode(errors="replace")
    if status < 500:
        return ObjectFailedError(f"ClientError: {status}", CLIENT_ERROR, detail)
    return ObjectFailedError(
        f"Bad HTTP status received from algorithm: {status}", ALGORITHM_ERROR, detail
    )
