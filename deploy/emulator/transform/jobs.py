"""CreateTransformJob and its sisters: what a job is to be, and what became of it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.emulator.http.wire import Refusal

__all__ = ["STATUSES", "TransformJob", "TransformJobs"]

STATUSES = ("InProgress", "Completed", "Failed", "Stopping", "Stopped")
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
MAX_MB = 100
MAX_ENVIRONMENT = 16
KEPT = (
    "TransformJobName",
    "ModelName",
    "MaxConcurrentTransforms",
    "ModelClientConfig",
    "MaxPayloadInMB",
    "BatchStrategy",
    "Environment",
    "TransformInput",
    "TransformOutput",
    "DataCaptureConfig",
    "TransformResources",
    "DataProcessing",
    "ExperimentConfig",
)


@dataclass
class TransformJob:
    """One job; its status is changed by whoever runs it."""

    request: Mapping[str, Any]
    arn: str
    region: str
    created: float = field(default_factory=time.time)
    status: str = "InProgress"
    started: float | None = None
    ended: float | None = None
    failure: str | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return str(self.request["TransformJobName"])

    @property
    def modified(self) -> float:
        return self.ended or self.started or self.created

    def start(self) -> None:
        self.started = time.time()

    def end(self, failure: str | None) -> None:
        """Stopped where that was asked for, whatever came of it."""
        with self._lock:
            self.ended = time.time()
            if self.stopping.is_set():
                self.status = "Stopped"
            else:
                self.failure = failure
                self.status = "Failed" if failure else "Completed"

    def stop(self) -> None:
        """Ask it to; raises Refusal where it has ended."""
        with self._lock:
            if self.status not in ("InProgress", "Stopping"):
                raise Refusal(
                    "ValidationException",
                    "The request was rejected because the transform job is in status "
                    f"{self.status}.",
                )
            self.status = "Stopping"
            self.stopping.set()

    def described(self) -> dict[str, Any]:
        table = {name: self.request[name] for name in KEPT if name in self.request}
        times = {
            "CreationTime": self.created,
            "TransformStartTime": self.started,
            "TransformEndTime": self.ended,
            "FailureReason": self.failure,
        }
        return {
            **table,
            **{name: value for name, value in times.items() if value is not None},
            "TransformJobArn": self.arn,
            "TransformJobStatus": self.status,
        }

    def summary(self) -> dict[str, Any]:
        table = {**self.described(), "LastModifiedTime": self.modified}
        wanted = (
            "TransformJobName",
            "TransformJobArn",
            "CreationTime",
            "TransformEndTime",
            "LastModifiedTime",
            "TransformJobStatus",
            "FailureReason",
        )
        return {name: table[name] for name in wanted if name in table}


class TransformJobs:
    """All jobs of all regions, as long as the emulator runs.

    `run` is called in a thread of its own; `model` gives a model or None.
    """

    def __init__(
        self,
        run: Callable[[TransformJob], None],
        model: Callable[[str, str], Mapping[str, Any] | None],
    ) -> None:
        self._run = run
        self._model = model
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, str], TransformJob] = {}
        self._threads: list[threading.Thread] = []

    def create(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        check(request)
        name = str(request["TransformJobName"])
        model = self._model(region, request["ModelName"])
        if model is None:
            raise Refusal(
                "ValidationException", f'Could not find model "{request["ModelName"]}".'
            )
        account = str(model["ModelArn"]).split(":")[4]
        containers = [model.get("PrimaryContainer"), *(model.get("Containers") or [])]
        if any("ModelDataSource" in (container or {}) for container in containers):
            raise Refusal(
                "ValidationException",
                "SageMaker Batch currently doesn't support Model entity with container "
                "definitions which use ModelDataSource attribute",
            )
        arn = f"arn:aws:sagemaker:{region}:{account}:transform-job/{name.lower()}"
        job = TransformJob(request, arn, region)
        with self._lock:
            if (region, name) in self._jobs:
                raise Refusal(
                    "ResourceInUse",
                    "Job name must be unique within an AWS account and region, and a "
                    f"job with this name already exists ({arn})",
                )
            self._jobs[region, name] = job
            thread = threading.Thread(target=self._run, args=(job,), daemon=True)
            self._threads.append(thread)
        thread.start()
        return {"TransformJobArn": arn}

    def describe(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._find(region, request).described()

    def stop(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self._find(region, request).stop()
        return {}

    def list(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            jobs = [job for (where, _), job in self._jobs.items() if where == region]
        wanted = [job for job in jobs if _is_wanted(job, request)]
        keys: dict[str, Callable[[TransformJob], Any]] = {
            "Name": lambda job: job.name,
            "Status": lambda job: job.status,
            "CreationTime": lambda job: job.created,
        }
        wanted.sort(
            key=keys[request.get("SortBy", "CreationTime")],
            reverse=request.get("SortOrder", "Descending") == "Descending",
        )
        first = int(request.get("NextToken") or 0)
        end = first + int(request.get("MaxResults", 10))
        answer: dict[str, Any] = {
            "TransformJobSummaries": [job.summary() for job in wanted[first:end]]
        }
        if end < len(wanted):
            answer["NextToken"] = str(end)
        return answer

    def close(self) -> None:
        """Stop what runs, and wait for it."""
        with self._lock:
            jobs, threads = list(self._jobs.values()), list(self._threads)
        for job in jobs:
            job.stopping.set()
        for thread in threads:
            thread.join()

    def _find(self, region: str, request: Mapping[str, Any]) -> TransformJob:
        name = str(request.get("TransformJobName"))
        with self._lock:
            job = self._jobs.get((region, name))
        if job is None:
            raise Refusal(
                "ResourceNotFound", f"Could not find transform job with name {name}."
            )
        return job


def check(request: Mapping[str, Any]) -> None:
    """Raises Refusal for what SageMaker, or we, do not take."""
    name = request.get("TransformJobName")
    _need(isinstance(name, str) and NAME.fullmatch(name), "TransformJobName", name)
    for key in ("ModelName", "TransformInput", "TransformOutput", "TransformResources"):
        _need(key in request, key, None)
    client = request.get("ModelClientConfig") or {}
    for table, key, least, most in (
        (request, "MaxPayloadInMB", 0, MAX_MB),
        (request, "MaxConcurrentTransforms", 0, 1000),
        (client, "InvocationsTimeoutInSeconds", 1, 3600),
        (client, "InvocationsMaxRetries", 0, 3),
        (request["TransformResources"], "InstanceCount", 1, 100),
    ):
        value = table.get(key)
        _need(value is None or least <= value <= most, key, value)
    at_once, size = (
        request.get("MaxConcurrentTransforms"),
        request.get("MaxPayloadInMB"),
    )
    if at_once and size and at_once * size > MAX_MB:
        raise Refusal(
            "ValidationException",
            f"MaxConcurrentTransforms * MaxPayloadInMB is {at_once * size}, and must "
            f"not be above {MAX_MB}.",
        )
    source = request["TransformInput"]
    data = (source.get("DataSource") or {}).get("S3DataSource") or {}
    _need("S3Uri" in data, "S3DataSource", data)
    strategy = request.get("BatchStrategy", "SingleRecord")
    for key, value, known in (
        ("BatchStrategy", strategy, ("SingleRecord", "MultiRecord")),
        ("S3DataType", data.get("S3DataType"), ("S3Prefix", "ManifestFile")),
        ("CompressionType", source.get("CompressionType", "None"), ("None", "Gzip")),
        ("SplitType", source.get("SplitType", "None"), ("None", "Line")),
        (
            "AssembleWith",
            request["TransformOutput"].get("AssembleWith", "None"),
            ("None", "Line"),
        ),
    ):
        _need(value in known, key, value)
    number = len(request.get("Environment") or {})
    _need(number <= MAX_ENVIRONMENT, "Environment", f"{number} entries")
    joined = (request.get("DataProcessing") or {}).get("JoinSource", "None")
    _need(joined == "None", "DataProcessing.JoinSource", joined)


def _need(condition: object, name: str, value: object) -> None:
    if not condition:
        raise Refusal(
            "ValidationException",
            f"Value {value!r} at '{name}' is not taken here: it is out of bounds, or "
            "chandra-sagemaker local does not emulate it.",
        )


def _is_wanted(job: TransformJob, request: Mapping[str, Any]) -> bool:
    if request.get("NameContains", "").lower() not in job.name.lower():
        return False
    if request.get("StatusEquals", job.status) != job.status:
        return False
    return bool(
        request.get("CreationTimeAfter", 0) <= job.created
        and job.created <= request.get("CreationTimeBefore", job.created)
        and request.get("LastModifiedTimeAfter", 0) <= job.modified
        and job.modified <= request.get("LastModifiedTimeBefore", job.modified)
    )
