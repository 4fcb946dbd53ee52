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
def local(local):
    """Emulator with a model."""
    local.create_model()
    return local


def test_stopped_job_aborts_requests_and_keeps_outputs(local, container):
    for name in ("a", "b", "c"):
        local.put_object(f"in/{name}.png", name.encode())
    is_over = threading.Event()
    container.reply = lambda received: (
        Reply(b"a")
        if received.body == b"a"
        else Reply(b"late" if is_over.wait(60) else b"never")
    )

    create_job(local)
    until(lambda: len(container.received) == 2)
    local.sagemaker.stop_transform_job(TransformJobName="job")

    assert wait_for_job(local)["TransformJobStatus"] == "Stopped"
    is_over.set()
    assert local.list_keys("out") == ["out/a.png.out"]
    with pytest.raises(ClientError, match="status Stopped"):
        local.sagemaker.stop_transform_job(TransformJobName="job")


def test_jobs_are_listed_newest_first_in_pages(local):
    local.put_object("in/a.png", b"a")
    for number in range(3):
        run_job(local, name=f"job-{number}")

    listing = local.sagemaker.list_transform_jobs
    first = listing(MaxResults=2)
    rest = listing(MaxResults=2, NextToken=first["NextToken"])
    named = listing(NameContains="B-1", StatusEquals="Completed")

    names = [job["TransformJobName"] for job in first["TransformJobSummaries"]]
    assert names == ["job-2", "job-1"]
    assert [j["TransformJobName"] for j in rest["TransformJobSummaries"]] == ["job-0"]
    assert "NextToken" not in rest
    assert len(named["TransformJobSummaries"]) == 1


def test_job_has_tags(local):
    local.put_object("in/a.png", b"a")
    run_job(local, Tags=[{"Key": "owner", "Value": "ocr"}])

    tags = local.sagemaker.list_tags(ResourceArn=describe_job(local)["TransformJobArn"])

    assert tags["Tags"] == [{"Key": "owner", "Value": "ocr"}]


def test_job_name_must_be_unique(local):
    local.put_object("in/a.png", b"a")
    run_job(local)

    assert "already exists" in expect_error(local, "ResourceInUse")


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
def test_invalid_job_parameters_are_rejected(local, params, message):
    assert message in expect_error(local, **params)


def test_model_with_model_data_source_is_rejected(local):
    local.create_model(
        "prefix",
        ModelDataSource={
            "S3DataSource": {
                "S3Uri": f"s3://{BUCKET}/weights/",
                "S3DataType": "S3Prefix",
                "CompressionType": "None",
            }
        },
    )

    assert "ModelDataSource" in expect_error(local, ModelName="prefix")


def test_unknown_job_is_not_found(local):
    with pytest.raises(ClientError, match="ResourceNotFound"):
        describe_job(local, "other")


def test_instance_type_without_batch_transform_is_rejected(local):
    resources = {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 1}

    message = expect_error(local, TransformResources=resources)

    assert "ml.p5.48xlarge" in message
