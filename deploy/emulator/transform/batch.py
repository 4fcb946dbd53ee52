"""How a transform job is run: a container, its objects, and one answer for each."""

from __future__ import annotations

import io
import json
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

from deploy.emulator.backend import Backend, S3Uri
from deploy.emulator.containers import Container, wait_until_healthy
from deploy.emulator.http.exchange import (
    Exchange,
    NoAnswerError,
    NoLengthError,
    RefusedError,
    get,
)
from deploy.emulator.limits import MIB, Assumed, Limits
from deploy.emulator.logs import Logs, Stream
from deploy.emulator.transform.inputs import (
    InputError,
    Item,
    contents,
    items_of,
    payloads,
)
from deploy.emulator.transform.jobs import TransformJob
from deploy.emulator.transform.plan import Plan
from deploy.errors import DeployError

__all__ = ["Batch"]

SPOOL_BYTES = 8 * MIB
CLIENT = "ClientError: See job logs for more information"
ALGORITHM = "AlgorithmError: See job logs for more information"


class StoppedError(Exception):
    """The job is being stopped."""


class ItemError(Exception):
    """One object failed; `kind` is what the job then says."""

    def __init__(self, text: str, kind: str, detail: str | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.detail = detail


class Batch:
    """One running job."""

    def __init__(
        self,
        job: TransformJob,
        container: Container,
        stream: Stream,
        *,
        backend: Backend,
        logs: Logs,
        limits: Limits,
        assumed: Assumed,
    ) -> None:
        self._job = job
        self._container = container
        self._stream = stream
        self._backend = backend
        self._logs = logs
        self._limits = limits
        self._assumed = assumed
        self._lock = threading.Lock()
        self._running: set[Exchange] = set()
        self._source = job.request["TransformInput"]
        self._target = job.request["TransformOutput"]

    def run(self) -> str | None:
        """Why the job failed; None where every object has its answer."""
        job = self._job
        try:
            output = S3Uri.of(self._target["S3OutputPath"])
            items = items_of(
                self._backend,
                job.region,
                self._source["DataSource"]["S3DataSource"],
                naming=self._assumed.output_naming,
            )
        except (InputError, DeployError, ValueError) as error:
            return f"ClientError: {error}"
        if not items:
            uri = self._source["DataSource"]["S3DataSource"]["S3Uri"]
            return f"ClientError: No S3 objects found under {uri}"
        if not wait_until_healthy(self._container, job.stopping.is_set):
            return f"AlgorithmError: {self._container.failure}"
        job.start()
        plan = Plan.of(job.request, self._parameters())
        self._say(
            f"MaxConcurrentTransforms={plan.concurrency}, "
            f"MaxPayloadInMB={plan.payload_mb}, BatchStrategy={plan.strategy}"
        )
        watcher = threading.Thread(target=self._abort_when_stopped, daemon=True)
        watcher.start()
        with (
            ThreadPoolExecutor(plan.concurrency) as requests,
            ThreadPoolExecutor(plan.concurrency) as readers,
        ):
            failures = list(
                readers.map(lambda i: self._item(i, output, plan, requests), items)
            )
        return next((failure for failure in failures if failure), None)

    def _parameters(self) -> dict[str, Any]:
        answer = get(self._container.address, "/execution-parameters", 10)
        if answer is None or answer[0] != 200:
            return {}
        try:
            found = json.loads(answer[1])
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _item(
        self, item: Item, output: S3Uri, plan: Plan, requests: ThreadPoolExecutor
    ) -> str | None:
        """One object, written once all of it has an answer; why it failed, or None."""
        try:
            if self._job.stopping.is_set():
                return None
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as answer:
                self._read(item, plan, requests, answer)
                if self._job.stopping.is_set():
                    return None
                answer.seek(0)
                self._backend.put(
                    self._job.region,
                    output / f"{item.name}.out",
                    answer,
                    self._target.get("Accept"),
                )
        except StoppedError:
            return None
        except ItemError as error:
            self._say(f"{item}: {error}")
            if error.detail:
                self._say(f"{item}: Message:")
                for line in error.detail.splitlines():
                    self._say(f"{item}: {line}")
            return error.kind
        except InputError as error:
            self._say(f"{item}: {error}")
            return CLIENT
        except DeployError as error:
            self._say(f"{item}: {error.message}")
            return CLIENT
        except Exception as error:  # one object never harms another
            self._say(f"{item}: {error!r}")
            return "InternalServerError: We encountered an internal error."
        return None

    def _read(
        self,
        item: Item,
        plan: Plan,
        requests: ThreadPoolExecutor,
        answer: IO[bytes],
    ) -> None:
        """All requests of an object, their answers in order."""
        opened, size = self._backend.open(self._job.region, item.place)
        is_gzip = self._source.get("CompressionType", "None") == "Gzip"
        is_split = self._source.get("SplitType", "None") == "Line"
        if not is_split and not is_gzip:
            _check_size(size, plan)
        with contents(opened, is_gzip=is_gzip) as file:
            if is_split:
                self._read_lines(file, plan, requests, answer)
                return
            size = file.seek(0, io.SEEK_END)
            _check_size(size, plan)
            length = None if plan.max_bytes is None else size
            future = requests.submit(self._ask, file, length, plan)
            answer.write(future.result() + self._end)

    def _read_lines(
        self,
        file: IO[bytes],
        plan: Plan,
        requests: ThreadPoolExecutor,
        answer: IO[bytes],
    ) -> None:
        pending: deque[Future[bytes]] = deque()
        try:
            for payload in payloads(
                file,
                max_bytes=plan.max_bytes,
                is_packed=plan.strategy == "MULTI_RECORD",
                keeps_newlines=self._assumed.keeps_newlines,
            ):
                length = None if plan.max_bytes is None else len(payload)
                pending.append(
                    requests.submit(self._ask, io.BytesIO(payload), length, plan)
                )
                if len(pending) >= plan.concurrency:
                    answer.write(pending.popleft().result() + self._end)
            while pending:
                answer.write(pending.popleft().result() + self._end)
        finally:
            for future in pending:
                future.cancel()

    @property
    def _end(self) -> bytes:
        return b"\n" if self._target.get("AssembleWith") == "Line" else b""

    def _ask(self, payload: IO[bytes], length: int | None, plan: Plan) -> bytes:
        """The container's answer, after some attempts; raises ItemError."""
        stopping = self._job.stopping
        num_retries = 0
        while True:
            self._wait()
            payload.seek(0)
            try:
                status, content = self._send(payload, length, plan.timeout_seconds)
            except RefusedError:
                # It died before it could be asked.
                continue
            except NoAnswerError as error:
                if stopping.is_set():
                    raise StoppedError from error
                failure = ItemError(
                    "Unable to get response from algorithm", ALGORITHM, str(error)
                )
                may_help = not isinstance(error, NoLengthError)
            else:
                if status < 400:
                    return content
                failure = _refused(status, content)
                may_help = self._assumed.is_retried(status)
            if not may_help or num_retries == plan.max_retries:
                raise failure
            num_retries += 1
            stopping.wait(self._assumed.retry_seconds)

    def _wait(self) -> None:
        """One that is being replaced gets nothing: the attempt would be lost."""
        if wait_until_healthy(self._container, self._job.stopping.is_set):
            return
        if self._job.stopping.is_set():
            raise StoppedError
        raise ItemError("Unable to get response from algorithm", ALGORITHM)

    def _send(
        self, payload: IO[bytes], length: int | None, seconds: float
    ) -> tuple[int, bytes]:
        headers = {}
        if content_type := self._source.get("ContentType"):
            headers["Content-Type"] = content_type
        if accept := self._target.get("Accept"):
            headers["Accept"] = accept
        exchange = Exchange(self._container.address, seconds)
        with self._lock:
            self._running.add(exchange)
        try:
            if self._job.stopping.is_set():
                raise StoppedError
            with exchange:
                exchange.post(headers, payload, length=length)
                return exchange.status, exchange.read_object()
        finally:
            with self._lock:
                self._running.discard(exchange)

    def _abort_when_stopped(self) -> None:
        while self._job.ended is None:
            if self._job.stopping.wait(0.2):
                with self._lock:
                    running = list(self._running)
                for exchange in running:
                    exchange.abort()
                time.sleep(0.2)

    def _say(self, text: str) -> None:
        self._logs.sagemaker(self._stream, text)


def _check_size(size: int, plan: Plan) -> None:
    if plan.max_bytes is not None and size > plan.max_bytes:
        raise InputError("Too much data for max payload size")


def _refused(status: int, content: bytes) -> ItemError:
    detail = content.decode(errors="replace")
    if status < 500:
        return ItemError(f"ClientError: {status}", CLIENT, detail)
    return ItemError(
        f"Bad HTTP status received from algorithm: {status}", ALGORITHM, detail
    )
