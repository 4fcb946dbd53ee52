"""Command `iam`: printed policies and created roles."""

from __future__ import annotations

import json

import pytest

from deploy.policies import caller_policy, execution_policy
from tests.deploy.accounts import IDENTITY, configured


def role_names(wire):
    return sorted(role["RoleName"] for role in wire.call("iam", "list_roles")["Roles"])


def test_all_policies_are_printed_without_a_flag(chandra, cloud):
    ran = chandra("iam")

    assert ran.status == 0, ran.err
    assert "sagemaker.amazonaws.com" in ran.out
    assert "sagemaker:CreateEndpoint" in ran.out
    assert cloud.changes == []


@pytest.mark.parametrize(
    ("flag", "policy"),
    [("--execution", execution_policy), ("--caller", caller_policy)],
)
def test_single_policy_is_printed_as_json_only(chandra, flag, policy):
    ran = chandra("iam", flag)

    assert json.loads(ran.out) == policy(configured(), IDENTITY)


def test_policy_too_long_for_a_managed_one_is_noted(chandra, project):
    short = chandra("iam", "--caller")
    project('[asynchronous]\nbucket = "exchange"\n')
    long = chandra("iam", "--caller")

    assert short.err == ""
    assert "a managed policy may have 6,144" in long.err
    # Standard output has the JSON only, so that it can be pasted.
    assert json.loads(long.out)["Version"] == "2012-10-17"


def test_roles_are_created_once(chandra, wire, cloud):
    created = chandra("iam", "--create")
    cloud.calls.clear()
    again = chandra("iam", "--create")

    assert created.status == again.status == 0, created.err
    assert role_names(wire) == ["ocr-build", "ocr-execution", "ocr-scheduler"]
    assert "no changes" in again.out
    assert cloud.changes == []


def test_policy_is_updated_from_the_file(chandra, wire, project):
    chandra("iam", "--create")
    project('[network]\nkms_key = "alias/ocr"\n')

    changed = chandra("iam", "--create")

    assert "set the policy for us-east-1 of role ocr-execution" in changed.out
    assert "create role" not in changed.out


def test_iam_create_rejects_an_existing_role_of_others(chandra, wire):
    wire.call(
        "iam", "create_role", RoleName="ocr-execution", AssumeRolePolicyDocument="{}"
    )

    ran = chandra("iam", "--create")

    assert ran.status == 5
    assert "not this deployment's" in ran.err


def test_destroy_all_deletes_the_created_roles(chandra, wire):
    chandra("iam", "--create")
    wire.call("s3", "create_bucket", Bucket="weights")

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert role_names(wire) == []


def test_a_dry_run_makes_no_role(chandra, wire):
    ran = chandra("iam", "--create", "--dry-run")

    assert "would create role ocr-execution for sagemaker" in ran.out
    assert role_names(wire) == []
