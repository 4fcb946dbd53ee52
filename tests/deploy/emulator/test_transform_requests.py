"""Tests of requests about batch transform jobs, through boto3."""

from __future__ import annotations

import threading

import pytest
from botocore.exceptions import ClientError

from tests.deploy.emulator.conftest import BUCKET
from tests.deploy.emulator.containers import Reply
from tests.deploy.emulator.jobs import (
    create_job,
    describe_job,
    expect_error,
    run_job,
    wait_for_job,
)
from tests.waiting import until


@pytest.fixture
def emulator(emulator):
    """Emulator with a model."""
    emulator.create_model()
    return emulator


def test_stopped_job_aborts_requests_and_keeps_outputs(emulator, container):
    for name in ("a", "b", "c"):
        emulator.put_object(f"in/{name}.png", name.encode())
    is_over = threading.Event()
    container.reply = lambda received: (
        Reply(b"a")
        if received.body == b"a"
        else Reply(b"late" if is_over.wait(60) else b"never")
    )

    create_job(emulator)
    until(lambda: len(container.received) == 2)
    emulator.sagemaker.stop_transform_job(TransformJobName="job")

    assert wait_for_job(emulator)["TransformJobStatus"] == "Stopped"
    is_over.set()
    assert emulator.list_keys("out") == ["out/a.png.out"]
    with pytest.raises(ClientError, match="status Stopped"):
        emulator.sagemaker.stop_transform_job(TransformJobName="job")


def test_jobs_are_listed_newest_first_in_pages(emulator):
    emulator.put_object("in/a.png", b"a")
    for number in range(3):
        run_job(emulator, name=f"job-{number}")

    list_jobs = emulator.sagemaker.list_transform_jobs
    first_page = list_jobs(MaxResults=2)
    second_page = list_jobs(MaxResults=2, NextToken=first_page["NextToken"])
    filtered = list_jobs(NameContains="B-1", StatusEquals="Completed")

    names = [job["TransformJobName"] for job in first_page["TransformJobSummaries"]]
    assert names == ["job-2", "job-1"]
    assert [j["TransformJobName"] for j in second_page["TransformJobSummaries"]] == [
        "job-0"
    ]
    assert "NextToken" not in second_page
    assert len(filtered["TransformJobSummaries"]) == 1


def test_job_has_tags(emulator):
    emulator.put_object("in/a.png", b"a")
    run_job(emulator, Tags=[{"Key": "owner", "Value": "ocr"}])

    tags = emulator.sagemaker.list_tags(
        ResourceArn=describe_job(emulator)["TransformJobArn"]
    )

    assert tags["Tags"] == [{"Key": "owner", "Value": "ocr"}]


def test_job_name_must_be_unique(emulator):
    emulator.put_object("in/a.png", b"a")
    run_job(emulator)

    assert "already exists" in expect_error(emulator, "ResourceInUse")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "bad_name"}, "TransformJobName"),
        ({"ModelName": "other"}, "Could not find model"),
        ({"MaxPayloadInMB": 101}, "MaxPayloadInMB"),
        ({"MaxPayloadInMB": 30, "MaxConcurrentTransforms": 4}, "above 100"),
        (
            {"ModelClientConfig": {"InvocationsMaxRetries": 4}},
            "InvocationsMaxRetries",
        ),
        (
            {"ModelClientConfig": {"InvocationsTimeoutInSeconds": 3601}},
            "InvocationsTimeoutInSeconds",
        ),
        ({"source": {"SplitType": "TFRecord"}}, "SplitType"),
        ({"Environment": {f"V{n}": "x" for n in range(17)}}, "Environment"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "JoinSource"),
    ],
)
def test_invalid_job_parameters_are_rejected(emulator, params, message):
    assert message in expect_error(emulator, **params)


def test_model_with_model_data_source_is_rejected(emulator):
    emulator.create_model(
        "prefix",
        ModelDataSource={
            "S3DataSource": {
                "S3Uri": f"s3://{BUCKET}/weights/",
                "S3DataType": "S3Prefix",
                "CompressionType": "None",
            }
        },
    )

    assert "ModelDataSource" in expect_error(emulator, ModelName="prefix")


def test_unknown_job_is_not_found(emulator):
    with pytest.raises(ClientError, match="ResourceNotFound"):
        describe_job(emulator, "other")


def test_instance_type_without_batch_transform_is_rejected(emulator):
    resources = {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 1}

    message = expect_error(emulator, TransformResources=resources)

    assert "ml.p5.48xlarge" in message
