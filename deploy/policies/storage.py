"""Statements for the objects that a caller of this package reads and writes in S3."""

from __future__ import annotations

from deploy.batch.job import transforms_prefix
from deploy.config import DeployConfig
from deploy.policies.statements import (
    Statement,
    actions_of,
    allow,
    document_bucket_arns,
    model_bucket_arn,
    source_arns,
    weights_prefix,
)
from deploy.queue.endpoint import get_exchange
from deploy.resources import Identity

__all__ = ["storage_statements"]


def storage_statements(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements for the bucket of the queue, of the model and of jobs."""
    return [
        *_exchange(config, identity),
        *_model(config, identity),
        *_job_documents(config, identity),
    ]


def _exchange(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements to submit documents to the queue and to fetch results.

    The list is empty if asynchronous.bucket is not set. Results may be written beside
    their documents in S3.
    """
    if config.asynchronous.bucket is None:
        return []
    exchange = get_exchange(config)
    bucket = f"arn:{identity.partition}:s3:::{exchange.bucket}"
    others = {source.partition("/")[0] for source in config.asynchronous.sources}
    scaling = "sagemaker.application-autoscaling.amazonaws.com"
    return [
        allow(
            "Exchange",
            actions_of(
                "s3",
                "GetObject PutObject DeleteObject DeleteObjectVersion "
                "AbortMultipartUpload ListMultipartUploadParts",
            ),
            [f"{bucket}/{exchange.prefix}*"],
        ),
        # `destroy --all` deletes by version, in buckets of its own region.
        allow(
            "ExchangeVersions",
            ["s3:ListBucketVersions", "s3:GetBucketLocation"],
            [bucket],
        ),
        allow(
            "Sources",
            ["s3:GetObject", "s3:PutObject"],
            source_arns(config, identity) or [f"{bucket}/{exchange.prefix}in/*"],
        ),
        allow(
            "ExchangeBuckets",
            actions_of("s3", "ListBucket ListBucketMultipartUploads"),
            [bucket, *(f"arn:{identity.partition}:s3:::{o}" for o in sorted(others))],
        ),
        # Application Auto Scaling creates its own role when it is used first.
        allow(
            "ScalingRole",
            ["iam:CreateServiceLinkedRole"],
            [identity.role_arn(f"aws-service-role/{scaling}/*")],
            condition={"StringEquals": {"iam:AWSServiceName": scaling}},
        ),
    ]


def _model(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements for weights, build sources and lists of jobs."""
    if config.model.bucket is None:
        return []
    bucket = model_bucket_arn(config, identity)
    return [
        allow(
            "Weights",
            actions_of(
                "s3",
                "GetObject GetObjectVersion PutObject DeleteObject "
                "DeleteObjectVersion AbortMultipartUpload ListMultipartUploadParts",
            ),
            [
                f"{bucket}/{weights_prefix(config)}*",
                f"{bucket}/builds/{config.name}/*",
                f"{bucket}/{transforms_prefix(config.name)}*",
            ],
        ),
        allow(
            "Bucket",
            actions_of(
                "s3",
                "ListBucket ListBucketVersions ListBucketMultipartUploads "
                "GetBucketLocation",
            ),
            [bucket],
        ),
    ]


def _job_documents(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements to read the buckets of transform jobs; none without them."""
    buckets = document_bucket_arns(config, identity)
    if not buckets:
        return []
    return [
        # `transform` counts the pages of a sample of documents, and lists results.
        allow("JobDocuments", ["s3:GetObject"], [f"{b}/*" for b in buckets]),
        allow("ListJobDocuments", ["s3:ListBucket"], buckets),
    ]
