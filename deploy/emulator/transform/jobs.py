"""Batch transform jobs: create, describe, stop and list them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.emulator.http.wire import ServiceError

__all__ = ["EmulatedJob", "EmulatedJobs"]

NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
MAX_CONCURRENT_MB = 100
MAX_ENVIRONMENT_VARIABLES = 16
DESCRIBED_FIELDS = (
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
class EmulatedJob:
    """Batch transform job; the thread that runs it changes its status."""

    request: Mapping[str, Any]
    arn: str
    region: str
    created: float = field(default_factory=time.time)
    status: str = "InProgress"
    started: float | None = None
    ended: float | None = None
    failure: str | None = None
    stop_requested: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return str(self.request["TransformJobName"])

    @property
    def modified(self) -> float:
        return self.ended or self.started or self.created

    def record_start(self) -> None:
        """Record that the container is healthy and objects are sent from now on."""
        self.started = time.time()

    def record_end(self, failure: str | None) -> None:
        """Set the end time and the final status.

        The status is Stopped if a stop was requested. Otherwise `failure` is the
        FailureReason, or None if the job has completed.
        """
        with self._lock:
            self.ended = time.time()
            if self.stop_requested.is_set():
                self.status = "Stopped"
            else:
                self.failure = failure
                self.status = "Failed" if failure else "Completed"

    def request_stop(self) -> None:
        """Set the status Stopping, and the event that the running thread observes.

        Raises ServiceError if the job has ended.
        """
        with self._lock:
            if self.status not in ("InProgress", "Stopping"):
                raise ServiceError(
                    "ValidationException",
                    "The request was rejected because the transform job is in status "
                    f"{self.status}.",
                )
            self.status = "Stopping"
            self.stop_requested.set()

    def describe(self) -> dict[str, Any]:
        """Return the response to DescribeTransformJob."""
        table = {
            name: self.request[name]
            for name in DESCRIBED_FIELDS
            if name in self.request
        }
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

    def summarize(self) -> dict[str, Any]:
        """Return the entry in the response to ListTransformJobs."""
        table = {**self.describe(), "LastModifiedTime": self.modified}
        fields = (
            "TransformJobName",
            "TransformJobArn",
            "CreationTime",
            "TransformEndTime",
            "LastModifiedTime",
            "TransformJobStatus",
            "FailureReason",
        )
        return {name: table[name] for name in fields if name in table}


class EmulatedJobs:
    """Batch transform jobs of all regions.

    `run` runs a job, and is called in a separate thread. `find_model` returns a model,
    or None if it does not exist.
    """

    def __init__(
        self,
        run: Callable[[EmulatedJob], None],
        find_model: Callable[[str, str], Mapping[str, Any] | None],
    ) -> None:
        self._run = run
        self._find_model = find_model
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, str], EmulatedJob] = {}
        self._threads: list[threading.Thread] = []

    def create(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Start a job in a new thread; return the response to CreateTransformJob.

        Raises ServiceError if the request is invalid, its model is missing, or a job
        with this name exists.
        """
        check_request(request)
        name = str(request["TransformJobName"])
        model = self._find_model(region, request["ModelName"])
        if model is None:
            raise ServiceError(
                "ValidationException", f'Could not find model "{request["ModelName"]}".'
            )
        account = str(model["ModelArn"]).split(":")[4]
        containers = [model.get("PrimaryContainer"), *(model.get("Containers") or [])]
        if any("ModelDataSource" in (container or {}) for container in containers):
            raise ServiceError(
                "ValidationException",
                "SageMaker Batch currently doesn't support Model entity with container "
                "definitions which use ModelDataSource attribute",
            )
        arn = f"arn:aws:sagemaker:{region}:{account}:transform-job/{name.lower()}"
        job = EmulatedJob(request, arn, region)
        with self._lock:
            if (region, name) in self._jobs:
                raise ServiceError(
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
        """Return the response to DescribeTransformJob; raises ServiceError."""
        return self._find(region, request).describe()

    def stop(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Request a job to stop; raises ServiceError if it is missing or has ended."""
        self._find(region, request).request_stop()
        return {}

    def list(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of the jobs in a region that match the filters of a request."""
        with self._lock:
            jobs = [
                job
                for (job_region, _), job in self._jobs.items()
                if job_region == region
            ]
        matching = [job for job in jobs if _matches_filters(job, request)]
        keys: dict[str, Callable[[EmulatedJob], Any]] = {
            "Name": lambda job: job.name,
            "Status": lambda job: job.status,
            "CreationTime": lambda job: job.created,
        }
        matching.sort(
            key=keys[request.get("SortBy", "CreationTime")],
            reverse=request.get("SortOrder", "Descending") == "Descending",
        )
        first = int(request.get("NextToken") or 0)
        end = first + int(request.get("MaxResults", 10))
        response: dict[str, Any] = {
            "TransformJobSummaries": [job.summarize() for job in matching[first:end]]
        }
        if end < len(matching):
            response["NextToken"] = str(end)
        return response

    def close(self) -> None:
        """Stop all jobs, and wait until they have ended."""
        with self._lock:
            jobs, threads = list(self._jobs.values()), list(self._threads)
        for job in jobs:
            job.stop_requested.set()
        for thread in threads:
            thread.join()

    def _find(self, region: str, request: Mapping[str, Any]) -> EmulatedJob:
        name = str(request.get("TransformJobName"))
        with self._lock:
            job = self._jobs.get((region, name))
        if job is None:
            raise ServiceError(
                "ResourceNotFound", f"Could not find transform job with name {name}."
            )
        return job


def check_request(request: Mapping[str, Any]) -> None:
    """Raise ServiceError for a request that SageMaker or the emulator rejects."""
    name = request.get("TransformJobName")
    _require(isinstance(name, str) and NAME.fullmatch(name), "TransformJobName", name)
    for key in ("ModelName", "TransformInput", "TransformOutput", "TransformResources"):
        _require(key in request, key, None)
    client = request.get("ModelClientConfig") or {}
    for table, key, least, most in (
        (request, "MaxPayloadInMB", 0, MAX_CONCURRENT_MB),
        (request, "MaxConcurrentTransforms", 0, 1000),
        (client, "InvocationsTimeoutInSeconds", 1, 3600),
        (client, "InvocationsMaxRetries", 0, 3),
        (request["TransformResources"], "InstanceCount", 1, 100),
    ):
        value = table.get(key)
        _require(value is None or least <= value <= most, key, value)
    concurrency, size = (
        request.get("MaxConcurrentTransforms"),
        request.get("MaxPayloadInMB"),
    )
    if concurrency and size and concurrency * size > MAX_CONCURRENT_MB:
        raise ServiceError(
            "ValidationException",
            f"MaxConcurrentTransforms * MaxPayloadInMB is {concurrency * size}, and "
            f"must not be above {MAX_CONCURRENT_MB}.",
        )
    source = request["TransformInput"]
    data = (source.get("DataSource") or {}).get("S3DataSource") or {}
    _require("S3Uri" in data, "S3DataSource", data)
    strategy = request.get("BatchStrategy", "SingleRecord")
    for key, value, allowed in (
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
        _require(value in allowed, key, value)
    num_variables = len(request.get("Environment") or {})
    _require(
        num_variables <= MAX_ENVIRONMENT_VARIABLES,
        "Environment",
        f"{num_variables} entries",
    )
    join_source = (request.get("DataProcessing") or {}).get("JoinSource", "None")
    _require(join_source == "None", "DataProcessing.JoinSource", join_source)


def _require(condition: object, name: str, value: object) -> None:
    """Raise ServiceError for the value of a parameter unless `condition` is true."""
    if not condition:
        raise ServiceError(
            "ValidationException",
            f"Value {value!r} at '{name}' is rejected: it is out of bounds, or "
            "chandra-sagemaker local does not emulate it.",
        )


def _matches_filters(job: EmulatedJob, request: Mapping[str, Any]) -> bool:
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
