"""Ownership: commands do not change resources without the deployment's tag."""

from __future__ import annotations

import json

import pytest

from deploy.errors import AccessDeniedError, CredentialsError
from deploy.resources import OWNER_TAG
from tests.deploy.accounts import IDENTITY, IMAGE
from tests.deploy.images import REPOSITORY, publish

pytestmark = pytest.mark.usefixtures("staged")

BUCKET = "weights"
THEIR_KEYS = (
    "models/datalab-to/chandra/theirs/model.safetensors",
    "models/readme.txt",
    "builds/other/v1.zip",
    "documents/ocr/page.png",
)


def create_foreign_resources(wire, tag=None):
    """Create a foreign resource under each name that a deployment `ocr` would use."""
    tags = [] if tag is None else [{"Key": OWNER_TAG, "Value": tag}]
    codebuild_tags = [{"key": t["Key"], "value": t["Value"]} for t in tags]
    wire.call(
        "sagemaker",
        "create_model",
        ModelName="ocr-theirs",
        ExecutionRoleArn=IDENTITY.role_arn("theirs"),
        EnableNetworkIsolation=False,
        PrimaryContainer={"Image": "theirs"},
        Tags=tags,
    )
    wire.call(
        "sagemaker",
        "create_endpoint_config",
        EndpointConfigName="ocr-theirs",
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": "ocr-theirs",
                "InstanceType": "ml.g5.2xlarge",
                "InitialInstanceCount": 1,
            }
        ],
        Tags=tags,
    )
    wire.call(
        "sagemaker",
        "create_endpoint",
        EndpointName="ocr-theirs",
        EndpointConfigName="ocr-theirs",
        Tags=tags,
    )
    wire.call(
        "cloudwatch",
        "put_metric_alarm",
        AlarmName="ocr-theirs",
        EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold",
        Namespace="Theirs",
        MetricName="Errors",
        Statistic="Sum",
        Period=60,
        Threshold=1.0,
        Tags=tags,
    )
    wire.call(
        "cloudwatch",
        "put_dashboard",
        DashboardName="ocr",
        DashboardBody=json.dumps({"widgets": []}),
    )
    wire.call("scheduler", "create_schedule_group", Name="ocr", Tags=tags)
    wire.call(
        "scheduler",
        "create_schedule",
        GroupName="ocr",
        Name="ocr-start",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:sagemaker:createEndpoint",
            "RoleArn": IDENTITY.role_arn("theirs"),
            "Input": '{"EndpointConfigName": "theirs"}',
        },
    )
    for role in ("ocr-execution", "ocr-scheduler", "ocr-build"):
        wire.call(
            "iam",
            "create_role",
            RoleName=role,
            AssumeRolePolicyDocument="{}",
            Tags=tags,
        )
    wire.call("ecr", "delete_repository", repositoryName=REPOSITORY, force=True)
    wire.call("ecr", "create_repository", repositoryName=REPOSITORY, tags=tags)
    publish(wire, IMAGE)
    wire.call(
        "codebuild",
        "create_project",
        name="ocr-image",
        source={"type": "S3", "location": "theirs/sources.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/standard:7.0",
            "computeType": "BUILD_GENERAL1_SMALL",
        },
        serviceRole=IDENTITY.role_arn("ocr-build"),
        tags=codebuild_tags,
    )
    for key in THEIR_KEYS:
        wire.call("s3", "put_object", Bucket=BUCKET, Key=key, Body=b"theirs")


def names_of_resources(wire):
    """Return the names of all resources in the account."""
    return {
        "models": names_in(wire, "sagemaker", "list_models", "Models", "ModelName"),
        "configs": names_in(
            wire,
            "sagemaker",
            "list_endpoint_configs",
            "EndpointConfigs",
            "EndpointConfigName",
        ),
        "endpoints": names_in(
            wire, "sagemaker", "list_endpoints", "Endpoints", "EndpointName"
        ),
        "alarms": names_in(
            wire, "cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"
        ),
        "dashboards": names_in(
            wire, "cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"
        ),
        "groups": names_in(
            wire, "scheduler", "list_schedule_groups", "ScheduleGroups", "Name"
        ),
        "roles": names_in(wire, "iam", "list_roles", "Roles", "RoleName"),
        "repositories": names_in(
            wire, "ecr", "describe_repositories", "repositories", "repositoryName"
        ),
        "projects": sorted(wire.call("codebuild", "list_projects")["projects"]),
        "objects": sorted(
            item["Key"]
            for item in wire.pages("s3", "list_objects_v2", "Contents", Bucket=BUCKET)
        ),
    }


def names_in(wire, service, operation, key, name):
    return sorted(item[name] for item in wire.call(service, operation)[key])


@pytest.mark.parametrize("tag", [None, "other"], ids=["no-tag", "another-tag"])
def test_destroy_all_keeps_resources_of_others(chandra, wire, tag):
    """Resources of others stay even under the names that this deployment would use."""
    create_foreign_resources(wire, tag)
    before = names_of_resources(wire)

    ran = chandra("destroy", "--all")

    after = names_of_resources(wire)
    own = {k for k in before["objects"] if "/0123abc/" in k}
    assert ran.status == 0, ran.err
    assert set(before["objects"]) - set(after["objects"]) == own
    assert {**after, "objects": []} == {**before, "objects": []}


def test_destroy_all_deletes_ours_among_others(chandra, wire):
    assert chandra("deploy").status == 0
    create_foreign_resources(wire)

    ran = chandra("destroy", "--all")

    left = names_of_resources(wire)
    assert ran.status == 0, ran.err
    assert left["models"] == left["configs"] == left["endpoints"] == ["ocr-theirs"]
    assert left["alarms"] == ["ocr-theirs"]
    assert left["objects"] == sorted(THEIR_KEYS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("iam", "--create"),
        ("dashboard", "--create"),
        ("schedule", "--start", "8:00", "--stop", "19:00"),
        ("schedule", "--remove"),
        ("image", "push", "--remote", "--tag", "v1"),
    ],
)
def test_foreign_resource_of_our_name_is_not_changed(chandra, wire, cloud, arguments):
    chandra("deploy")
    create_foreign_resources(wire)
    cloud.calls.clear()

    ran = chandra(*arguments)

    assert ran.status == 5, ran.out + ran.err
    assert cloud.changes == []


def test_deploy_keeps_a_schedule_of_others(chandra, wire, cloud):
    create_foreign_resources(wire)
    cloud.calls.clear()

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert [call for call in cloud.changes if call.startswith("scheduler")] == []


def test_destroy_works_without_rights_to_a_queue(chandra, intercept):
    """The least policy names the queue's endpoint only if the configuration has one."""
    chandra("deploy")

    def deny(params):
        if params["EndpointName"] == "ocr-async":
            raise AccessDeniedError("not authorized to describe ocr-async")

    intercept("sagemaker", "DescribeEndpoint", deny)

    ran = chandra("destroy")

    assert ran.status == 0, ran.err
    assert "deployment ocr is gone" in ran.out


@pytest.mark.parametrize("operation", ["DescribeEndpoint", "DescribeModel"])
def test_expired_credentials_end_destroy_unchanged(
    chandra, wire, cloud, intercept, operation
):
    chandra("deploy")
    wire.call(
        "sagemaker",
        "create_model",
        ModelName="theirs",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/theirs",
        EnableNetworkIsolation=False,
        PrimaryContainer={"Image": "theirs"},
    )
    cloud.calls.clear()

    def expire(params):
        name = params.get("EndpointName") or params.get("ModelName")
        if name in ("ocr-async", "theirs"):
            raise CredentialsError("the credentials have expired", hint="aws sso login")

    intercept("sagemaker", operation, expire)

    ran = chandra("destroy", "--all", "--keep-global")

    assert ran.status == 8, ran.out + ran.err
    assert "the credentials have expired" in ran.err
    assert cloud.changes == []
