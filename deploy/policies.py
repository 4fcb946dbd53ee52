"""IAM documents, each as small as what it is for. Pure functions that return dicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.asynchronous import SUFFIX, exchange_of
from deploy.config import DeployConfig
from deploy.resources import Identity, image_address, log_group
from deploy.transforms import LOG_GROUP, transforms_prefix

__all__ = [
    "build_policy",
    "caller_policy",
    "execution_policy",
    "scheduler_policy",
    "trust_policy",
]

Document = dict[str, Any]


def trust_policy(service: str, account: str) -> Document:
    """Who may take the role: one service, on behalf of this account."""
    return _document(
        {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        }
    )


def execution_policy(config: DeployConfig, identity: Identity) -> Document:
    """What the endpoint itself may do, and the machines of a transform job."""
    groups = [*map(log_group, _endpoints(config)), LOG_GROUP]
    statements = [
        _allow(
            "Logs",
            [
                "logs:CreateLogGroup",
                "logs:CreateLogStream",
                "logs:DescribeLogStreams",
                "logs:PutLogEvents",
            ],
            [
                f"{_logs(identity, group)}{rest}"
                for group in groups
                for rest in ("", ":*")
            ],
        ),
        {
            **_allow("Metrics", ["cloudwatch:PutMetricData"], ["*"]),
            "Condition": {
                "StringLike": {
                    "cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/*"]
                }
            },
        },
        _allow("Registry", ["ecr:GetAuthorizationToken"], ["*"]),
        _allow(
            "Image",
            [
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            ],
            [_pulled(config, identity)],
        ),
        _allow(
            "RollbackAlarms",
            ["cloudwatch:DescribeAlarms"],
            [_alarms(config, identity)],
        ),
    ]
    if config.model.bucket is not None and config.model.source == "s3":
        bucket = _bucket(config, identity)
        statements += [
            _allow("Weights", ["s3:GetObject"], [f"{bucket}/{_prefix(config)}*"]),
            {
                **_allow("ListWeights", ["s3:ListBucket"], [bucket]),
                "Condition": {"StringLike": {"s3:prefix": [f"{_prefix(config)}*"]}},
            },
        ]
    statements += _exchange(config, identity)
    statements += _job_documents(config, identity)
    if config.capture.uri is not None:
        where = config.capture.uri.removeprefix("s3://").rstrip("/")
        statements.append(
            _allow(
                "Capture",
                ["s3:PutObject"],
                [f"arn:{identity.partition}:s3:::{where}/*"],
            )
        )
    if config.network.subnets:
        statements.append(
            _allow(
                "Network",
                [
                    f"ec2:{action}"
                    for action in (
                        "CreateNetworkInterface",
                        "CreateNetworkInterfacePermission",
                        "DeleteNetworkInterface",
                        "DeleteNetworkInterfacePermission",
                        "DescribeDhcpOptions",
                        "DescribeNetworkInterfaces",
                        "DescribeSecurityGroups",
                        "DescribeSubnets",
                        "DescribeVpcs",
                    )
                ],
                ["*"],
            )
        )
    if config.network.kms_key is not None:
        statements.append(
            _key(
                config.network.kms_key,
                identity,
                _actions("kms", "CreateGrant Decrypt GenerateDataKey"),
            )
        )
    return _document(*statements)


def _job_documents(config: DeployConfig, identity: Identity) -> list[Document]:
    """What a transform job reads and writes."""
    statements = []
    if config.model.bucket is not None:
        bucket = _bucket(config, identity)
        ours = transforms_prefix(config.name)
        statements += [
            # Lists of objects, files that were uploaded, requests of a manifest.
            _allow("Jobs", ["s3:GetObject"], [f"{bucket}/{ours}*"]),
            {
                **_allow("ListJobs", ["s3:ListBucket"], [bucket]),
                "Condition": {"StringLike": {"s3:prefix": [f"{ours}*"]}},
            },
        ]
    buckets = _document_buckets(config, identity)
    if buckets:
        statements += [
            _allow(
                "JobDocuments",
                _actions("s3", "GetObject PutObject AbortMultipartUpload"),
                [f"{bucket}/*" for bucket in buckets],
            ),
            _allow("ListJobDocuments", ["s3:ListBucket"], buckets),
        ]
    return statements


def _exchange(config: DeployConfig, identity: Identity) -> list[Document]:
    """What an asynchronous endpoint reads, writes and tells."""
    table = config.asynchronous
    if table.bucket is None:
        return []
    exchange = exchange_of(config)
    ours = f"arn:{identity.partition}:s3:::{exchange.bucket}/{exchange.prefix}"
    statements = [
        _allow(
            "Documents",
            ["s3:GetObject"],
            [f"{ours}in/*", *_sources(config, identity)],
        ),
        _allow("Results", ["s3:PutObject"], [f"{ours}out/*", f"{ours}failed/*"]),
    ]
    named = (table.success_topic, table.error_topic)
    topics = sorted({topic for topic in named if topic is not None})
    if topics:
        statements.append(_allow("Topics", ["sns:Publish"], topics))
    return statements


def _sources(config: DeployConfig, identity: Identity) -> list[str]:
    """Objects of the buckets that documents are read from where they lie."""
    return [
        f"arn:{identity.partition}:s3:::{source.rstrip('/')}/*"
        for source in config.asynchronous.sources
    ]


def caller_policy(config: DeployConfig, identity: Identity) -> Document:
    """What the person or pipeline needs that runs every command of this package."""
    name = config.name
    role = config.role or identity.role_arn(config.role_name)
    scheduler = identity.role_arn(f"{name}-scheduler")
    build = identity.role_arn(f"{name}-build")
    endpoints = [identity.sagemaker_arn("endpoint", n) for n in _endpoints(config)]
    statements = [
        _allow(
            "Endpoint",
            _actions(
                "sagemaker",
                "CreateModel DescribeModel DeleteModel CreateEndpointConfig "
                "DescribeEndpointConfig DeleteEndpointConfig CreateEndpoint "
                "DescribeEndpoint UpdateEndpoint DeleteEndpoint InvokeEndpoint "
                "InvokeEndpointAsync AddTags ListTags",
            ),
            [
                *endpoints,
                identity.sagemaker_arn("endpoint-config", f"{name}-*"),
                identity.sagemaker_arn("model", f"{name}-*"),
            ],
        ),
        _allow(
            "Jobs",
            _actions(
                "sagemaker",
                "CreateTransformJob DescribeTransformJob StopTransformJob AddTags "
                "ListTags",
            ),
            [
                identity.sagemaker_arn("transform-job", f"{name}-*"),
                identity.sagemaker_arn("model", f"{name}-*"),
            ],
        ),
        _allow(
            "Lists",
            [
                *_actions(
                    "sagemaker",
                    "ListEndpoints ListEndpointConfigs ListModels ListTransformJobs",
                ),
                *_actions("servicequotas", "ListServiceQuotas GetServiceQuota"),
                *_actions(
                    "application-autoscaling",
                    "DescribeScalableTargets DescribeScalingPolicies",
                ),
                *_actions("cloudwatch", "DescribeAlarms GetMetricData"),
                "logs:DescribeLogGroups",
                "ecr:GetAuthorizationToken",
            ],
            ["*"],
        ),
        {
            **_allow("PassRole", ["iam:PassRole"], [role]),
            "Condition": {
                "StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}
            },
        },
        {
            **_allow("PassSchedulerRole", ["iam:PassRole"], [scheduler]),
            "Condition": {
                "StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}
            },
        },
        {
            **_allow("PassBuildRole", ["iam:PassRole"], [build]),
            "Condition": {
                "StringEquals": {"iam:PassedToService": "codebuild.amazonaws.com"}
            },
        },
        _allow(
            "Builds",
            _actions(
                "codebuild",
                "BatchGetProjects CreateProject DeleteProject StartBuild "
                "BatchGetBuilds",
            ),
            [
                f"arn:{identity.partition}:codebuild:{identity.region}:"
                f"{identity.account}:project/{name}-image"
            ],
        ),
        _allow(
            "Roles",
            _actions(
                "iam",
                "GetRole CreateRole TagRole PutRolePolicy DeleteRolePolicy DeleteRole "
                "GetRolePolicy ListRolePolicies",
            ),
            [identity.role_arn(config.role_name), scheduler, build],
        ),
        _allow(
            "Images",
            _actions(
                "ecr",
                "CreateRepository DescribeRepositories TagResource ListTagsForResource "
                "DescribeImages BatchGetImage BatchCheckLayerAvailability "
                "GetDownloadUrlForLayer InitiateLayerUpload UploadLayerPart "
                "CompleteLayerUpload PutImage PutLifecyclePolicy GetLifecyclePolicy "
                "BatchDeleteImage DeleteRepository",
            ),
            [_repository(config, identity)],
        ),
        _allow(
            "Logs",
            _actions(
                "logs",
                "FilterLogEvents DescribeLogStreams DeleteLogGroup",
            ),
            [
                f"{_logs(identity, group)}{rest}"
                for group in (
                    *map(log_group, _endpoints(config)),
                    f"/aws/codebuild/{name}-image",
                )
                for rest in ("", ":*")
            ],
        ),
        # One group for every job of the account: its streams are deleted, never itself.
        _allow(
            "JobLogs",
            _actions("logs", "FilterLogEvents DescribeLogStreams"),
            [f"{_logs(identity, LOG_GROUP)}{rest}" for rest in ("", ":*")],
        ),
        _allow(
            "JobLogStreams",
            ["logs:DeleteLogStream"],
            [f"{_logs(identity, LOG_GROUP)}:log-stream:{name}-*"],
        ),
        _allow(
            "Alarms",
            _actions(
                "cloudwatch",
                "PutMetricAlarm DeleteAlarms TagResource ListTagsForResource",
            ),
            [_alarms(config, identity)],
        ),
        _allow(
            "Scaling",
            _actions(
                "application-autoscaling",
                "RegisterScalableTarget DeregisterScalableTarget PutScalingPolicy",
            ),
            [
                f"arn:{identity.partition}:application-autoscaling:{identity.region}:"
                f"{identity.account}:scalable-target/*"
            ],
        ),
        _allow(
            "Dashboard",
            _actions("cloudwatch", "PutDashboard GetDashboard DeleteDashboards"),
            [
                f"arn:{identity.partition}:cloudwatch::{identity.account}:dashboard/{name}"
            ],
        ),
        _allow(
            "Schedule",
            _actions(
                "scheduler",
                "CreateScheduleGroup GetScheduleGroup DeleteScheduleGroup "
                "CreateSchedule UpdateSchedule GetSchedule DeleteSchedule TagResource "
                "ListTagsForResource",
            ),
            [
                f"arn:{identity.partition}:scheduler:{identity.region}:"
                f"{identity.account}:{kind}/{name}{rest}"
                for kind, rest in (("schedule-group", ""), ("schedule", "/*"))
            ],
        ),
    ]
    if config.asynchronous.bucket is not None:
        statements += _exchanging(config, identity)
    if config.model.bucket is not None:
        bucket = _bucket(config, identity)
        statements += [
            _allow(
                "Weights",
                _actions(
                    "s3",
                    "GetObject GetObjectVersion PutObject DeleteObject "
                    "DeleteObjectVersion AbortMultipartUpload ListMultipartUploadParts",
                ),
                [
                    f"{bucket}/{_prefix(config)}*",
                    f"{bucket}/builds/{name}/*",
                    f"{bucket}/{transforms_prefix(name)}*",
                ],
            ),
            _allow(
                "Bucket",
                _actions(
                    "s3",
                    "ListBucket ListBucketVersions ListBucketMultipartUploads "
                    "GetBucketLocation",
                ),
                [bucket],
            ),
        ]
    if config.network.subnets:
        statements.append(
            _allow(
                "Network",
                _actions("ec2", "DescribeSubnets DescribeSecurityGroups"),
                ["*"],
            )
        )
    buckets = _document_buckets(config, identity)
    if buckets:
        statements += [
            # Pages are counted in a sample; results are seen by listing them.
            _allow("JobDocuments", ["s3:GetObject"], [f"{b}/*" for b in buckets]),
            _allow("ListJobDocuments", ["s3:ListBucket"], buckets),
        ]
    if config.network.kms_key is not None:
        statements.append(
            _key(
                config.network.kms_key,
                identity,
                _actions("kms", "Decrypt GenerateDataKey CreateGrant DescribeKey"),
            )
        )
    return _document(*statements)


def _exchanging(config: DeployConfig, identity: Identity) -> list[Document]:
    """For documents sent and results fetched, beside their documents in S3 too."""
    exchange = exchange_of(config)
    ours = f"arn:{identity.partition}:s3:::{exchange.bucket}"
    others = {source.partition("/")[0] for source in config.asynchronous.sources}
    role = "aws-service-role/sagemaker.application-autoscaling.amazonaws.com"
    return [
        _allow(
            "Exchange",
            _actions(
                "s3",
                "GetObject PutObject DeleteObject DeleteObjectVersion "
                "AbortMultipartUpload ListMultipartUploadParts",
            ),
            [f"{ours}/{exchange.prefix}*"],
        ),
        # `destroy --all` deletes by version.
        _allow("ExchangeVersions", ["s3:ListBucketVersions"], [ours]),
        _allow(
            "Sources",
            ["s3:GetObject", "s3:PutObject"],
            _sources(config, identity) or [f"{ours}/{exchange.prefix}in/*"],
        ),
        _allow(
            "ExchangeBuckets",
            _actions("s3", "ListBucket ListBucketMultipartUploads"),
            [ours, *(f"arn:{identity.partition}:s3:::{o}" for o in sorted(others))],
        ),
        {
            # Application Auto Scaling makes its own role the first time.
            **_allow(
                "ScalingRole",
                ["iam:CreateServiceLinkedRole"],
                [f"arn:{identity.partition}:iam::{identity.account}:role/{role}/*"],
            ),
            "Condition": {
                "StringEquals": {
                    "iam:AWSServiceName": "sagemaker.application-autoscaling"
                    ".amazonaws.com"
                }
            },
        },
    ]


def scheduler_policy(config: DeployConfig, identity: Identity) -> Document:
    """What EventBridge needs to start and stop one endpoint."""
    name = config.name
    return _document(
        _allow(
            "StartAndStop",
            _actions("sagemaker", "CreateEndpoint DeleteEndpoint AddTags"),
            [
                identity.sagemaker_arn("endpoint", name),
                identity.sagemaker_arn("endpoint-config", f"{name}-*"),
            ],
        )
    )


def build_policy(config: DeployConfig, identity: Identity) -> Document:
    """What CodeBuild needs to build the image and push it."""
    name = config.name
    logs = _logs(identity, f"/aws/codebuild/{name}-image")
    statements = [
        _allow(
            "Logs",
            _actions("logs", "CreateLogGroup CreateLogStream PutLogEvents"),
            [logs, f"{logs}:*"],
        ),
        _allow("Registry", ["ecr:GetAuthorizationToken"], ["*"]),
        _allow(
            "Push",
            _actions(
                "ecr",
                "BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer "
                "InitiateLayerUpload UploadLayerPart CompleteLayerUpload PutImage",
            ),
            [_repository(config, identity)],
        ),
    ]
    if config.model.bucket is not None:
        bucket = _bucket(config, identity)
        statements.append(
            _allow(
                "Source",
                ["s3:GetObject", "s3:GetObjectVersion"],
                [f"{bucket}/builds/{name}/*"],
            )
        )
    return _document(*statements)


def _endpoints(config: DeployConfig) -> list[str]:
    """The names of both: the asynchronous one where there is to be one."""
    has_both = config.asynchronous.bucket is not None
    return [config.name, *([f"{config.name}{SUFFIX}"] if has_both else [])]


def _document(*statements: dict[str, Any]) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, actions: Sequence[str], resources: Sequence[str]) -> Document:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
    }


def _actions(service: str, names: str) -> list[str]:
    return [f"{service}:{name}" for name in names.split()]


def _repository(config: DeployConfig, identity: Identity) -> str:
    return (
        f"arn:{identity.partition}:ecr:{identity.region}:{identity.account}:"
        f"repository/{config.image.repository}"
    )


def _pulled(config: DeployConfig, identity: Identity) -> str:
    """The repository of the image: ours, or the one that image.uri names."""
    address = image_address(config.image.uri)
    if address is None:
        return _repository(config, identity)
    return (
        f"arn:{identity.partition}:ecr:{address.region}:{address.account}:"
        f"repository/{address.repository}"
    )


def _bucket(config: DeployConfig, identity: Identity) -> str:
    return f"arn:{identity.partition}:s3:::{config.model.bucket}"


def _document_buckets(config: DeployConfig, identity: Identity) -> list[str]:
    return [
        f"arn:{identity.partition}:s3:::{name}" for name in config.transform.buckets
    ]


def _prefix(config: DeployConfig) -> str:
    prefix = config.model.prefix.strip("/")
    return f"{prefix}/" if prefix else ""


def _logs(identity: Identity, group: str) -> str:
    where = f"{identity.region}:{identity.account}"
    return f"arn:{identity.partition}:logs:{where}:log-group:{group}"


def _alarms(config: DeployConfig, identity: Identity) -> str:
    where = f"{identity.region}:{identity.account}"
    return f"arn:{identity.partition}:cloudwatch:{where}:alarm:{config.name}-*"


def _key(key: str, identity: Identity, actions: Sequence[str]) -> Document:
    """IAM knows keys by their own ARN; an alias can only be a condition."""
    everywhere = f"arn:{identity.partition}:kms:{identity.region}:{identity.account}:"
    alias = key.removeprefix(everywhere)
    if alias.startswith("alias/"):
        condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}}
        return {
            **_allow("Key", actions, [f"{everywhere}key/*"]),
            "Condition": condition,
        }
    return _allow(
        "Key", actions, [key if key.startswith("arn:") else f"{everywhere}key/{key}"]
    )
