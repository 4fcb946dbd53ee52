"""Roles are global, and have a policy for each region of a deployment."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deploy.policies import (
    MAX_ROLE_CHARACTERS,
    build_policy,
    characters_of,
    execution_policy,
    policy_regions,
    scheduler_policy,
    trust_policy,
)
from deploy.policies.statements import allow, document
from tests.deploy.accounts import IDENTITY, configured

ROLE = "ocr-execution"
OTHER_IDENTITY = dataclasses.replace(IDENTITY, region="eu-west-1")


def policies_of_role(wire, role=ROLE):
    """Return the policies inside a role, by name."""
    names = wire.call("iam", "list_role_policies", RoleName=role)["PolicyNames"]
    return {
        name: wire.call("iam", "get_role_policy", RoleName=role, PolicyName=name)[
            "PolicyDocument"
        ]
        for name in names
    }


def put_policy(wire, name, document, role=ROLE):
    wire.call(
        "iam",
        "put_role_policy",
        RoleName=role,
        PolicyName=name,
        PolicyDocument=json.dumps(document),
    )


def create_role_of_earlier_version(wire, identity):
    """Create a role with one policy, whose name has no region."""
    wire.call(
        "iam",
        "create_role",
        RoleName=ROLE,
        AssumeRolePolicyDocument=json.dumps(
            trust_policy("sagemaker", IDENTITY.account)
        ),
        Tags=[{"Key": "chandra-torchserve:deployment", "Value": "ocr"}],
    )
    put_policy(wire, "chandra-sagemaker", execution_policy(configured(), identity))


def test_second_region_keeps_the_policies_of_the_first(chandra, wire):
    config = configured()
    chandra("iam", "--create")

    second = chandra("iam", "--create", "--region", "eu-west-1")

    assert second.status == 0, second.err
    for role, policy in (
        (ROLE, execution_policy),
        ("ocr-scheduler", scheduler_policy),
        ("ocr-build", build_policy),
    ):
        assert policies_of_role(wire, role) == {
            "chandra-sagemaker-us-east-1": policy(config, IDENTITY),
            "chandra-sagemaker-eu-west-1": policy(config, OTHER_IDENTITY),
        }


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_roles_created_for_two_regions_suit_both(chandra, cloud, region):
    chandra("iam", "--create")
    chandra("iam", "--create", "--region", "eu-west-1")
    cloud.calls.clear()

    again = chandra("iam", "--create", "--region", region)
    doctor = chandra("doctor", "--region", region, "--json")

    assert "no changes" in again.out
    assert cloud.changes == []
    assert "role" in doctor.json["ok"]


def test_doctor_reports_a_role_without_this_region(chandra, cloud):
    chandra("iam", "--create")

    ran = chandra("doctor", "--region", "eu-west-1")

    assert "the policy for eu-west-1 of role ocr-execution is not the one" in ran.out


def test_unnamed_policy_of_the_same_region_is_replaced(chandra, wire, cloud):
    create_role_of_earlier_version(wire, IDENTITY)

    ran = chandra("iam", "--create")

    assert ran.status == 0, ran.err
    assert "chandra-sagemaker-us-east-1 replaces it" in ran.out
    assert list(policies_of_role(wire)) == ["chandra-sagemaker-us-east-1"]


def test_unnamed_policy_of_another_region_is_kept(chandra, wire, cloud):
    create_role_of_earlier_version(wire, IDENTITY)

    chandra("iam", "--create", "--region", "eu-west-1")

    assert policies_of_role(wire)["chandra-sagemaker"] == execution_policy(
        configured(), IDENTITY
    )
    assert sorted(policies_of_role(wire)) == [
        "chandra-sagemaker",
        "chandra-sagemaker-eu-west-1",
    ]


def test_doctor_accepts_the_unnamed_policy_of_its_region(chandra, wire, cloud):
    create_role_of_earlier_version(wire, IDENTITY)

    assert "role" in chandra("doctor", "--json").json["ok"]


def test_policy_of_others_in_the_role_stays(chandra, wire):
    chandra("iam", "--create")
    theirs = document(allow("Theirs", ["s3:GetObject"], ["*"]))
    put_policy(wire, "theirs", theirs)

    chandra("iam", "--create", "--region", "eu-west-1")

    assert policies_of_role(wire)["theirs"] == theirs


def test_role_too_small_for_one_more_region_is_refused(chandra, wire, cloud):
    chandra("iam", "--create")
    size = characters_of(execution_policy(configured(), IDENTITY))
    arn = f"arn:aws:s3:::{'a' * (MAX_ROLE_CHARACTERS - 2 * size)}/*"
    put_policy(wire, "theirs", document(allow("Theirs", ["s3:GetObject"], [arn])))
    cloud.calls.clear()

    ran = chandra("iam", "--create", "--region", "eu-west-1")

    assert ran.status == 2
    assert "role ocr-execution would have" in ran.err
    assert "IAM takes 10,240" in ran.err
    assert "another name in the chandra.toml for eu-west-1" in ran.err
    assert cloud.changes == []


def test_printed_policy_says_its_name_and_region(chandra, cloud):
    ran = chandra("iam", "--region", "eu-west-1")

    assert "(policy chandra-sagemaker-eu-west-1)" in ran.out
    assert json.loads(chandra("iam", "--execution", "--region", "eu-west-1").out) == (
        execution_policy(configured(region="eu-west-1"), OTHER_IDENTITY)
    )


@pytest.mark.parametrize("policy", [execution_policy, scheduler_policy, build_policy])
def test_region_of_an_unnamed_policy_is_read_from_its_arns(policy):
    policy_document = policy(
        configured(network={"kms_key": "alias/ocr"}), OTHER_IDENTITY
    )

    regions = policy_regions(
        {"chandra-sagemaker": policy_document, "theirs": policy_document}
    )

    assert regions == {"chandra-sagemaker": {"eu-west-1"}}


@pytest.mark.usefixtures("staged")
@pytest.mark.parametrize(
    ("role", "arguments"),
    [
        ("ocr-scheduler", ("schedule", "--start", "8:00", "--stop", "19:00")),
        ("ocr-build", ("image", "push", "--remote", "--tag", "v1")),
    ],
    ids=["schedule", "image-push"],
)
def test_role_without_a_policy_for_the_region_is_refused(
    chandra, cloud, role, arguments
):
    chandra("iam", "--create")
    cloud.calls.clear()

    ran = chandra(*arguments, "--region", "eu-west-1")

    assert ran.status == 4
    assert f"role {role} has policies for us-east-1, and none for eu-west-1" in ran.err
    assert "iam --create --region eu-west-1" in ran.err


def test_statements_and_resources_may_be_without_a_list():
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/ocr"
    bare = {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": arn}

    regions = policy_regions({"chandra-sagemaker": {"Statement": bare}})

    assert regions == {"chandra-sagemaker": {"eu-west-1"}}


@pytest.mark.usefixtures("staged")
def test_role_without_a_policy_here_starts_no_machine(chandra, cloud):
    chandra("iam", "--create", "--region", "eu-west-1")
    cloud.calls.clear()

    ran = chandra("deploy")

    assert ran.status == 2
    assert (
        "role ocr-execution has policies for eu-west-1, and none for us-east-1"
    ) in ran.err
    assert "chandra-sagemaker iam --create --region us-east-1" in ran.err
    assert cloud.changes == []


@pytest.mark.usefixtures("staged")
def test_role_that_may_not_be_read_is_noted(chandra, cloud):
    cloud.forbidden = {"iam:ListRolePolicies"}

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert "note: the policies of role ocr-execution could not be checked" in ran.out
