"""Policies allow no more than the commands need."""

from __future__ import annotations

import json

import pytest

from deploy.policies import (
    caller_policy,
    execution_policy,
    scheduler_policy,
    trust_policy,
)
from tests.deploy.accounts import IDENTITY, configured

# Actions without resource-level permissions, and actions that list resources.
ALLOWED_ON_STAR = {
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "cloudwatch:PutMetricData",
    "ec2:DescribeRegions",
    "ecr:GetAuthorizationToken",
    "logs:DescribeLogGroups",
    "sagemaker:ListEndpointConfigs",
    "sagemaker:ListEndpoints",
    "sagemaker:ListModels",
    "sagemaker:ListTransformJobs",
    "servicequotas:GetServiceQuota",
    "servicequotas:ListServiceQuotas",
}


def statements(document):
    return {s["Sid"]: s for s in document["Statement"]}


def actions_on_star(document):
    return {
        action
        for statement in document["Statement"]
        if "*" in statement["Resource"]
        for action in statement["Action"]
    }


def test_star_resources_only_where_aws_requires_them():
    config = configured()

    assert actions_on_star(execution_policy(config, IDENTITY)) <= ALLOWED_ON_STAR
    assert actions_on_star(caller_policy(config, IDENTITY)) <= ALLOWED_ON_STAR
    assert actions_on_star(scheduler_policy(config, IDENTITY)) == set()


def test_no_action_is_a_wildcard():
    config = configured(network={"kms_key": "alias/ocr"})

    for policy in (execution_policy, caller_policy, scheduler_policy):
        for statement in policy(config, IDENTITY)["Statement"]:
            assert not any("*" in action for action in statement["Action"])


def test_the_endpoint_reads_its_weights_and_no_other_object():
    weights = statements(execution_policy(configured(), IDENTITY))["Weights"]

    assert weights["Action"] == ["s3:GetObject"]
    assert weights["Resource"] == ["arn:aws:s3:::weights/models/*"]


def test_endpoint_may_describe_its_rollback_alarms():
    alarms = statements(execution_policy(configured(), IDENTITY))["RollbackAlarms"]

    assert alarms["Resource"] == [
        "arn:aws:cloudwatch:us-east-1:123456789012:alarm:ocr-*"
    ]


def test_rights_follow_the_configuration():
    plain = statements(execution_policy(configured(), IDENTITY))
    extended = statements(
        execution_policy(
            configured(
                network={
                    "subnets": ["s"],
                    "security_groups": ["g"],
                    "kms_key": "alias/ocr",
                },
                capture={"uri": "s3://kept/ocr"},
            ),
            IDENTITY,
        )
    )

    assert extended.keys() - plain.keys() == {"Network", "Key", "Capture"}


@pytest.mark.parametrize(
    "alias", ["alias/ocr", "arn:aws:kms:us-east-1:123456789012:alias/ocr"]
)
def test_alias_of_a_key_becomes_a_condition(alias):
    config = configured(network={"kms_key": alias})

    for policy in (execution_policy, caller_policy):
        key = statements(policy(config, IDENTITY))["Key"]
        assert key["Resource"] == ["arn:aws:kms:us-east-1:123456789012:key/*"]
        assert key["Condition"] == {
            "ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/ocr"}
        }


def test_a_caller_may_pass_the_role_to_sagemaker_only():
    statement = statements(caller_policy(configured(), IDENTITY))["PassRole"]

    assert statement["Resource"] == ["arn:aws:iam::123456789012:role/ocr-execution"]
    assert statement["Condition"] == {
        "StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}
    }


def test_a_role_is_for_one_service_in_this_account():
    (statement,) = trust_policy("sagemaker", "123456789012")["Statement"]

    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"}
    }


def test_a_policy_fits_into_a_role():
    """IAM allows 10,240 characters of policies inside a role."""
    assert len(json.dumps(caller_policy(configured(), IDENTITY))) < 10_240


def test_jobs_use_the_named_buckets_only():
    config = configured(transform={"buckets": ["inbox", "results"]})

    role = statements(execution_policy(config, IDENTITY))
    without = statements(execution_policy(configured(), IDENTITY))

    assert role["JobDocuments"]["Resource"] == [
        "arn:aws:s3:::inbox/*",
        "arn:aws:s3:::results/*",
    ]
    assert role["Jobs"]["Resource"] == ["arn:aws:s3:::weights/transforms/ocr/*"]
    assert "JobDocuments" not in without


def test_caller_may_change_jobs_of_the_deployment_only():
    caller = statements(caller_policy(configured(), IDENTITY))

    assert all("/ocr-*" in resource for resource in caller["Jobs"]["Resource"])
    assert caller["JobLogStreams"]["Resource"] == [
        "arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/TransformJobs"
        ":log-stream:ocr-*"
    ]


def test_statement_names_of_a_policy_are_unique():
    config = configured(
        transform={"buckets": ["inbox"]},
        asynchronous={"bucket": "exchange", "sources": ["inbox"]},
        network={"kms_key": "alias/ocr"},
    )

    for policy in (execution_policy, caller_policy):
        names = [s["Sid"] for s in policy(config, IDENTITY)["Statement"]]
        assert len(set(names)) == len(names)


def test_models_of_the_deployment_are_described_in_every_region():
    """`destroy --all` asks all regions before it deletes what is global."""
    caller = statements(caller_policy(configured(), IDENTITY))

    assert caller["OtherRegions"]["Action"] == [
        "sagemaker:DescribeModel",
        "sagemaker:ListTags",
    ]
    assert caller["OtherRegions"]["Resource"] == [
        "arn:aws:sagemaker:*:123456789012:*/ocr*"
    ]
    assert "ec2:DescribeRegions" in caller["Lists"]["Action"]


def test_policy_of_the_default_name_fits_into_a_managed_one():
    """IAM allows 6,144 characters without white space in a managed policy."""
    policy = caller_policy(configured(name="chandra"), IDENTITY)

    assert len(json.dumps(policy, separators=(",", ":"))) <= 6_144
