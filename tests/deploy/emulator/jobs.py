"""Helpers for tests of batch transform jobs."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.deploy.emulator.conftest import BUCKET
from tests.waiting import until

__all__ = [
    "create_job",
    "describe_job",
    "expect_error",
    "run_job",
    "wait_for_job",
    "wait_for_log_lines",
]

ENDED = ("Completed", "Failed", "Stopped")


def create_job(emulator, name="job", *, source=None, target=None, data=None, **params):
    """Create a job that reads the objects below in/ and writes to out/.

    The parameters override TransformInput (`source`), S3DataSource (`data`),
    TransformOutput (`target`) and the request itself. Returns the name.
    """
    emulator.sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=params.pop("ModelName", "ocr"),
        TransformInput={
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": f"s3://{BUCKET}/in/",
                    **(data or {}),
                }
            },
            **(source or {}),
        },
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/out", **(target or {})},
        TransformResources=params.pop(
            "TransformResources", {"InstanceType": "ml.g6e.2xlarge", "InstanceCount": 1}
        ),
        **params,
    )
    return name


def describe_job(emulator, name="job"):
    return emulator.sagemaker.describe_transform_job(TransformJobName=name)


def wait_for_job(emulator, name="job", timeout_seconds=60):
    """Wait until a job has ended; return its description."""

    def find_ended_job():
        job = describe_job(emulator, name)
        return job if job["TransformJobStatus"] in ENDED else None

    return until(find_ended_job, timeout_seconds)


def run_job(emulator, **params):
    """Create a job, and wait until it has ended; return its description."""
    return wait_for_job(emulator, create_job(emulator, **params))


def expect_error(emulator, code="ValidationException", **params):
    """Create a job that is rejected with this code; return the error message."""
    with pytest.raises(ClientError) as caught:
        create_job(emulator, **params)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


def wait_for_log_lines(emulator, *expected):
    """Wait until the data log contains all the given lines."""

    def find_expected_lines():
        streams = emulator.read_messages("/aws/sagemaker/TransformJobs")
        matching = [
            line.partition("[sagemaker logs]: ")[2]
            for name, lines in streams.items()
            if name.endswith("/data-log")
            for line in lines
        ]
        return matching if set(expected) <= set(matching) else None

    return until(find_expected_lines)
