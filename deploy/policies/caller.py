"""Policy of the person or pipeline that runs the commands of this package."""

from __future__ import annotations

from deploy.batch.job import LOG_GROUP
from deploy.config import DeployConfig
from deploy.policies.statements import (
    Policy,
    Statement,
    actions_of,
    alarms_arn,
    allow,
    document,
    endpoint_names,
    key_statement,
    log_group_arns,
    repository_arn,
)
from deploy.policies.storage import storage_statements
from deploy.resources import Identity, log_group

__all__ = ["caller_policy"]


def caller_policy(config: DeployConfig, identity: Identity) -> Policy:
    """Return the policy of the person or pipeline that runs the commands."""
    return document(
        *_sagemaker(config, identity),
        *_roles(config, identity),
        *_image(config, identity),
        *_logs(config, identity),
        *_operations(config, identity),
        *storage_statements(config, identity),
        *_network(config, identity),
    )


def _sagemaker(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements for endpoints and jobs, and for lists that take no ARN."""
    name = config.name
    models = identity.sagemaker_arn("model", f"{name}-*")
    return [
        allow(
            "Endpoint",
            actions_of(
                "sagemaker",
                "CreateModel DescribeModel DeleteModel CreateEndpointConfig "
                "DescribeEndpointConfig DeleteEndpointConfig CreateEndpoint "
                "DescribeEndpoint UpdateEndpoint DeleteEndpoint InvokeEndpoint "
                "InvokeEndpointAsync UpdateEndpointWeightsAndCapacities AddTags "
                "ListTags",
            ),
            [
                *(
                    identity.sagemaker_arn("endpoint", n)
                    for n in endpoint_names(config)
                ),
                identity.sagemaker_arn("endpoint-config", f"{name}-*"),
                models,
            ],
        ),
        allow(
            "Jobs",
            actions_of(
                "sagemaker",
                "CreateTransformJob DescribeTransformJob StopTransformJob AddTags "
                "ListTags",
            ),
            [identity.sagemaker_arn("transform-job", f"{name}-*"), models],
        ),
        allow(
            "Lists",
            [
                *actions_of(
                    "sagemaker",
                    "ListEndpoints ListEndpointConfigs ListModels ListTransformJobs",
                ),
                *actions_of("servicequotas", "ListServiceQuotas GetServiceQuota"),
                *actions_of(
                    "application-autoscaling",
                    "DescribeScalableTargets DescribeScalingPolicies",
                ),
                *actions_of("cloudwatch", "DescribeAlarms GetMetricData"),
                "logs:DescribeLogGroups",
                "ecr:GetAuthorizationToken",
                "ec2:DescribeRegions",
            ],
            ["*"],
        ),
        # `destroy --all` asks other regions before it deletes global resources.
        allow(
            "OtherRegions",
            actions_of("sagemaker", "DescribeModel ListTags"),
            [f"arn:{identity.partition}:sagemaker:*:{identity.account}:*/{name}*"],
        ),
    ]


def _roles(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements to create the roles, and to pass each to its service."""
    execution = identity.role_arn(config.role_name)
    scheduler = identity.role_arn(f"{config.name}-scheduler")
    build = identity.role_arn(f"{config.name}-build")
    return [
        _allow_pass_role("PassRole", config.role or execution, "sagemaker"),
        _allow_pass_role("PassSchedulerRole", scheduler, "scheduler"),
        _allow_pass_role("PassBuildRole", build, "codebuild"),
        allow(
            "Roles",
            actions_of(
                "iam",
                "GetRole CreateRole TagRole PutRolePolicy DeleteRolePolicy DeleteRole "
                "GetRolePolicy ListRolePolicies ListAttachedRolePolicies "
                "DetachRolePolicy",
            ),
            [execution, scheduler, build],
        ),
    ]


def _allow_pass_role(sid: str, role: str, service: str) -> Statement:
    return allow(
        sid,
        ["iam:PassRole"],
        [role],
        condition={"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}},
    )


def _image(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements to build the image on AWS, to push it and to delete it."""
    return [
        allow(
            "Builds",
            actions_of(
                "codebuild",
                "BatchGetProjects CreateProject DeleteProject StartBuild "
                "BatchGetBuilds",
            ),
            [
                f"arn:{identity.partition}:codebuild:{identity.region}:"
                f"{identity.account}:project/{config.name}-image"
            ],
        ),
        allow(
            "Images",
            actions_of(
                "ecr",
                "CreateRepository DescribeRepositories TagResource ListTagsForResource "
                "DescribeImages BatchGetImage BatchCheckLayerAvailability "
                "GetDownloadUrlForLayer InitiateLayerUpload UploadLayerPart "
                "CompleteLayerUpload PutImage PutLifecyclePolicy GetLifecyclePolicy "
                "BatchDeleteImage DeleteRepository",
            ),
            [repository_arn(config, identity)],
        ),
    ]


def _logs(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements to read logs of endpoints, builds and jobs and delete them."""
    name = config.name
    groups = [*map(log_group, endpoint_names(config)), f"/aws/codebuild/{name}-image"]
    jobs, in_jobs = log_group_arns(identity, LOG_GROUP)
    return [
        allow(
            "Logs",
            actions_of("logs", "FilterLogEvents DescribeLogStreams DeleteLogGroup"),
            log_group_arns(identity, *groups),
        ),
        # All jobs of the account share one log group. `destroy` deletes the streams of
        # the deployment in it, but not the group.
        allow(
            "JobLogs",
            actions_of("logs", "FilterLogEvents DescribeLogStreams"),
            [jobs, in_jobs],
        ),
        allow(
            "JobLogStreams", ["logs:DeleteLogStream"], [f"{jobs}:log-stream:{name}-*"]
        ),
    ]


def _operations(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements for alarms, scaling, the dashboard and the schedule."""
    name, partition = config.name, identity.partition
    where = f"{identity.region}:{identity.account}"
    return [
        allow(
            "Alarms",
            actions_of(
                "cloudwatch",
                "PutMetricAlarm DeleteAlarms TagResource ListTagsForResource",
            ),
            [alarms_arn(config, identity)],
        ),
        allow(
            "Scaling",
            actions_of(
                "application-autoscaling",
                "RegisterScalableTarget DeregisterScalableTarget PutScalingPolicy",
            ),
            [f"arn:{partition}:application-autoscaling:{where}:scalable-target/*"],
        ),
        allow(
            "Dashboard",
            actions_of("cloudwatch", "PutDashboard GetDashboard DeleteDashboards"),
            [
                f"arn:{partition}:cloudwatch::{identity.account}:dashboard/{each}"
                for each in endpoint_names(config)
            ],
        ),
        allow(
            "Schedule",
            actions_of(
                "scheduler",
                "CreateScheduleGroup GetScheduleGroup DeleteScheduleGroup "
                "CreateSchedule UpdateSchedule GetSchedule DeleteSchedule TagResource "
                "ListTagsForResource",
            ),
            [
                f"arn:{partition}:scheduler:{where}:schedule-group/{name}",
                f"arn:{partition}:scheduler:{where}:schedule/{name}/*",
            ],
        ),
    ]


def _network(config: DeployConfig, identity: Identity) -> list[Statement]:
    """Return statements to describe the subnets and to use the KMS key.

    Each is left out if the setting is not set.
    """
    statements = []
    if config.network.subnets:
        statements.append(
            allow(
                "Network",
                actions_of("ec2", "DescribeSubnets DescribeSecurityGroups"),
                ["*"],
            )
        )
    if config.network.kms_key is not None:
        statements.append(
            key_statement(
                config.network.kms_key,
                identity,
                actions_of("kms", "Decrypt GenerateDataKey CreateGrant DescribeKey"),
            )
        )
    return statements
