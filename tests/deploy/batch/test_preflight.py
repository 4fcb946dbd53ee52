"""Checks that refuse a batch job before it costs anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.batch.transformer import (
    BUCKETS,
    RUN,
    TAR,
)


def test_missing_image_is_refused(chandra, put, cloud, wire):
    put("scans/a.pdf")
    wire.call(
        "ecr", "delete_repository", repositoryName="chandra-torchserve", force=True
    )

    ran = chandra(*RUN)

    assert ran.status == 2, ran.out
    assert "there is no image" in ran.err
    assert "chandra-sagemaker image push" in ran.err
    assert cloud.jobs == {}


def test_manifest_needs_network(chandra, put, cloud, tmp_path):
    put("a.pdf")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"document": "s3://inbox/a.pdf"}\n')

    ran = chandra("transform", "start", str(manifest), "s3://results/md")

    assert ran.status == 2
    assert "network.isolation = true keeps it from S3" in ran.err
    assert cloud.jobs == {}


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ('instance_type = "ml.p5.48xlarge"\n', "does not run on ml.p5.48xlarge"),
        ('instance_type = "ml.g7e.2xlarge"\n', "g4dn, g5, g6, g6e"),
        ('instance_type = "ml.g4dn.xlarge"\n', "T4 with 16 GB"),
        ('ami = "al2-ami-sagemaker-batch-gpu-470"\n', "would die without a log line"),
        ('weights = "pull"\n', "network.isolation = true keeps it"),
        (
            "[transform.environment]\n" + "".join(f"A{n} = 1\n" for n in range(17)),
            "a job takes 16 variables, not 17",
        ),
    ],
)
def test_invalid_settings_are_refused_before_start(
    chandra, put, cloud, project, extra, sentence
):
    put("scans/a.pdf")
    project(BUCKETS + extra)

    ran = chandra(*RUN)

    assert ran.status == 2
    assert sentence in ran.err
    assert cloud.jobs == {}


def test_image_for_cuda_13_is_refused(chandra, put, cloud, project, tmp_path):
    put("scans/a.pdf")
    path: Path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("[model]", 'cuda = "13.0"\n[model]'))

    ran = chandra(*RUN)

    assert ran.status == 2
    assert "driver 535" in ran.err


def test_missing_tar_is_refused(chandra, put, wire):
    put("scans/a.pdf")
    wire.call("s3", "delete_object", Bucket="weights", Key=TAR)

    ran = chandra(*RUN)

    assert ran.status == 2
    assert "chandra-sagemaker model stage --tar" in ran.err


def test_unreachable_bucket_is_reported(chandra, put, project):
    put("scans/a.pdf")
    project('[transform]\nbuckets = ["inbox"]\n')

    ran = chandra(*RUN)

    assert ran.status == 2
    assert "reaches no documents in bucket results" in ran.err


def test_quota_of_zero_is_refused(chandra, put, cloud):
    put("scans/a.pdf")
    cloud.limits = {"ml.g6e.2xlarge": 0}

    ran = chandra(*RUN)

    assert ran.status == 2
    assert "may run 0 ml.g6e.2xlarge for transform jobs" in ran.err
    assert "request-service-quota-increase" in ran.err
