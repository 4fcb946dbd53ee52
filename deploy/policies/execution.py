"""Policy of the execution role, for endpoints and transform jobs."""

from __future__ import annotations

from deploy.batch.job import LOG_GROUP, transforms_prefix
from deploy.config import DeployConfig, ModelSource
from deploy.documents.document import split_uri
from deploy.policies.statements import (
    Policy,
    Statement,
    actions_of,
    alarms_arn,
    allow,
    document,
    document_bucket_arns,
    endpoint_names,
    key_statement,
    log_group_arns,
    model_bucket_arn,
    pulled_repository_arn,
    source_arns,
    weights_prefix,
)
from deploy.queue.endpoint import get_exchange
from deploy.resources import Identity, log_group

__all__ = ["execution_policy"]


def execution_policy(config: DeployConfig, identity: Identity) -> Policy:
    """Return the policy of the role that endpoints and transform jobs run with."""
    return document(
        *_container(config, identity),
        *_weights(config, identity),
        *_exchange(config, identity),
        *_job_documents(config, identity),
        *_capture(config, identity),
        *_network(config, identity),
    )


def _container(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements that every container needs: image, log and metrics."""
    groups = [*map(log_group, endpoint_names(config)), LOG_GROUP]
    return [
        allow(
            "Logs",
            actions_of(
                "logs",
                "CreateLogGroup CreateLogStream DescribeLogStreams PutLogEvents",
            ),
            log_group_arns(identity, *groups),
        ),
        allow(
            "Metrics",
            ["cloudwatch:PutMetricData"],
            ["*"],
            condition={
                "StringLike": {
                    "cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/*"]
                }
            },
        ),
        allow("Registry", ["ecr:GetAuthorizationToken"], ["*"]),
        allow(
            "Image",
            actions_of(
                "ecr",
                "BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer",
            ),
            [pulled_repository_arn(config, identity)],
        ),
        allow(
            "RollbackAlarms",
            ["cloudwatch:DescribeAlarms"],
            [alarms_arn(config, identity)],
        ),
    ]


def _weights(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements to read the staged weights; none for weights of the hub."""
    if config.model.bucket is None or config.model.source is not ModelSource.S3:
        return []
    bucket, prefix = model_bucket_arn(config, identity), weights_prefix(config)
    return [
        allow("Weights", ["s3:GetObject"], [f"{bucket}/{prefix}*"]),
        allow(
            "ListWeights",
            ["s3:ListBucket"],
            [bucket],
            condition={"StringLike": {"s3:prefix": [f"{prefix}*"]}},
        ),
    ]


def _exchange(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements for the asynchronous endpoint's objects and topics."""
    table = config.asynchronous
    if table.bucket is None:
        return []
    exchange = get_exchange(config)
    address = f"arn:{identity.partition}:s3:::{exchange.bucket}/{exchange.prefix}"
    statements = [
        allow(
            "Documents",
            ["s3:GetObject"],
            [f"{address}in/*", *source_arns(config, identity)],
        ),
        allow("Results", ["s3:PutObject"], [f"{address}out/*", f"{address}failed/*"]),
    ]
    named = (table.success_topic, table.error_topic)
    topics = sorted({topic for topic in named if topic is not None})
    if topics:
        statements.append(allow("Topics", ["sns:Publish"], topics))
    return statements


def _job_documents(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements for the objects that transform jobs read and write."""
    statements = []
    if config.model.bucket is not None:
        bucket = model_bucket_arn(config, identity)
        prefix = transforms_prefix(config.name)
        statements += [
            # These are lists of objects, uploaded files, and requests of a manifest.
            allow("Jobs", ["s3:GetObject"], [f"{bucket}/{prefix}*"]),
            allow(
                "ListJobs",
                ["s3:ListBucket"],
                [bucket],
                condition={"StringLike": {"s3:prefix": [f"{prefix}*"]}},
            ),
        ]
    buckets = document_bucket_arns(config, identity)
    if buckets:
        statements += [
            allow(
                "JobDocuments",
                actions_of("s3", "GetObject PutObject AbortMultipartUpload"),
                [f"{bucket}/*" for bucket in buckets],
            ),
            allow("ListJobDocuments", ["s3:ListBucket"], buckets),
        ]
    return statements


def _capture(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return the statement to write captured data; none if capture is off."""
    if config.capture.uri is None:
        return []
    bucket, prefix = split_uri(config.capture.uri)
    where = f"{bucket}/{prefix}".rstrip("/")
    return [
        allow("Capture", ["s3:PutObject"], [f"arn:{identity.partition}:s3:::{where}/*"])
    ]


def _network(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements to run in subnets, and to use the KMS key.

    Each is left out if the setting is not set.
    """
    statements = []
    if config.network.subnets:
        statements.append(
            allow(
                "Network",
                actions_of(
                    "ec2",
                    "CreateNetworkInterface CreateNetworkInterfacePermission "
                    "DeleteNetworkInterface DeleteNetworkInterfacePermission "
                    "DescribeDhcpOptions DescribeNetworkInterfaces "
                    "DescribeSecurityGroups DescribeSubnets DescribeVpcs",
                ),
                ["*"],
            )
        )
    if config.network.kms_key is not None:
        statements.append(
            key_statement(
                config.network.kms_key,
                identity,
                actions_of("kms", "CreateGrant Decrypt GenerateDataKey"),
            )
        )
    return statements
