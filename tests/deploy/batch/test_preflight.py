"""Checks that refuse a batch job before it costs anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.batch.transformer import (
    START_COMMAND,
    TAR_KEY,
    TRANSFORM_CONFIG,
)


def test_missing_image_is_refused(chandra, upload_document, cloud, wire):
    upload_document("scans/a.pdf")
    wire.call(
        "ecr", "delete_repository", repositoryName="chandra-torchserve", force=True
    )

    result = chandra(*START_COMMAND)

    assert result.status == 2, result.out
    assert "there is no image" in result.err
    assert "chandra-sagemaker image push" in result.err
    assert cloud.jobs == {}


def test_manifest_needs_network(chandra, upload_document, cloud, tmp_path):
    upload_document("a.pdf")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"document": "s3://inbox/a.pdf"}\n')

    result = chandra("transform", "start", str(manifest), "s3://results/md")

    assert result.status == 2
    assert "from S3, which network.isolation = true blocks" in result.err
    assert cloud.jobs == {}


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ('instance_type = "ml.p5.48xlarge"\n', "does not run on ml.p5.48xlarge"),
        ('instance_type = "ml.g7e.2xlarge"\n', "g4dn, g5, g6, g6e"),
        ('instance_type = "ml.g4dn.xlarge"\n', "T4 with 16 GB"),
        ('ami = "al2-ami-sagemaker-batch-gpu-470"\n', "would die without a log line"),
        ('weights = "pull"\n', "which network.isolation = true blocks"),
        (
            "[transform.environment]\n" + "".join(f"A{n} = 1\n" for n in range(17)),
            "a job accepts at most 16 environment variables, not 17",
        ),
    ],
)
def test_invalid_settings_are_refused_before_start(
    chandra, upload_document, cloud, project, extra, sentence
):
    upload_document("scans/a.pdf")
    project(TRANSFORM_CONFIG + extra)

    result = chandra(*START_COMMAND)

    assert result.status == 2
    assert sentence in result.err
    assert cloud.jobs == {}


def test_image_for_cuda_13_is_refused(
    chandra, upload_document, cloud, project, tmp_path
):
    upload_document("scans/a.pdf")
    path: Path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("[model]", 'cuda = "13.0"\n[model]'))

    result = chandra(*START_COMMAND)

    assert result.status == 2
    assert "driver 535" in result.err


def test_missing_tar_is_refused(chandra, upload_document, wire):
    upload_document("scans/a.pdf")
    wire.call("s3", "delete_object", Bucket="weights", Key=TAR_KEY)

    result = chandra(*START_COMMAND)

    assert result.status == 2
    assert "chandra-sagemaker model stage --tar" in result.err


def test_unreachable_bucket_is_reported(chandra, upload_document, project):
    upload_document("scans/a.pdf")
    project('[transform]\nbuckets = ["inbox"]\n')

    result = chandra(*START_COMMAND)

    assert result.status == 2
    assert "has no access to bucket results" in result.err


def test_quota_of_zero_is_refused(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    cloud.limits = {"ml.g6e.2xlarge": 0}

    result = chandra(*START_COMMAND)

    assert result.status == 2
    assert "may run 0 ml.g6e.2xlarge for transform jobs" in result.err
    assert "request-service-quota-increase" in result.err
