"""`destroy --all` in one region keeps what other regions use."""

from __future__ import annotations

import json

import pytest

from deploy.aws.buckets import bucket_region
from deploy.policies import policy_name
from tests.deploy.accounts import IDENTITY, IMAGE
from tests.deploy.conftest import stage
from tests.deploy.images import publish
from tests.deploy.policies.test_iam_regions import policies_of_role

# Each test makes about a hundred calls over HTTP.
pytestmark = pytest.mark.slow

HERE, OTHER_REGION = "us-east-1", "eu-west-1"
DESTROY_ELSEWHERE = ("destroy", "--all", "--region", OTHER_REGION)
ROLES = ["ocr-build", "ocr-execution", "ocr-scheduler"]


@pytest.fixture
def serving(cloud, wire, hub, chandra):
    """Deploy in us-east-1, in an account with two regions; return the fake cloud."""
    cloud.regions = [HERE, OTHER_REGION]
    stage(wire, hub)
    publish(wire, IMAGE)
    assert chandra("iam", "--create").status == 0
    assert chandra("deploy").status == 0
    cloud.calls.clear()
    return cloud


@pytest.fixture
def wire_elsewhere(wire):
    """Client of the same account in eu-west-1."""
    return wire.in_region(OTHER_REGION)


def role_names(wire):
    return sorted(role["RoleName"] for role in wire.call("iam", "list_roles")["Roles"])


def keys_of_objects(wire, bucket="weights"):
    return sorted(item["Key"] for item in wire.objects(bucket, ""))


def create_model(aws, name="other-1", role="ocr-execution", tag="other", **container):
    """Create a model of another deployment, or of the named one."""
    aws.call(
        "sagemaker",
        "create_model",
        ModelName=name,
        ExecutionRoleArn=IDENTITY.role_arn(role),
        EnableNetworkIsolation=False,
        PrimaryContainer={"Image": "theirs", **container},
        Tags=[{"Key": "chandra-torchserve:deployment", "Value": tag}],
    )


def kept_resources(ran):
    """Return the reason and the remedy of each kept resource, by resource."""
    return {each["what"]: each for each in ran.json["kept"]}


def test_live_deployment_of_another_region_keeps_all(serving, chandra, wire):
    before = keys_of_objects(wire)

    ran = chandra(*DESTROY_ELSEWHERE, "--json")

    assert ran.status == 0, ran.err
    assert serving.changes == []
    kept = kept_resources(ran)
    assert kept["role ocr-execution"]["reason"] == (
        "us-east-1 has endpoint ocr and 2 more"
    )
    assert kept["objects in s3://weights (3 of staged weights)"]["reason"] == (
        "the bucket is in us-east-1, and us-east-1 has endpoint ocr and 2 more"
    )
    # No hint stops the serving endpoint.
    assert "destroy --all --region us-east-1" not in ran.out
    assert role_names(wire) == ROLES
    assert keys_of_objects(wire) == before
    assert serving.machines["ocr"].status == "InService"
    assert chandra("doctor", "--json").json["findings"] == []


def test_second_region_loses_its_own_policies_only(serving, chandra, wire):
    chandra("iam", "--create", "--region", OTHER_REGION)

    ran = chandra(*DESTROY_ELSEWHERE)

    assert ran.status == 0, ran.err
    assert f"delete policy {policy_name(OTHER_REGION)} of role ocr-execution" in ran.out
    assert "deployment ocr is gone from eu-west-1" in ran.out
    assert [list(policies_of_role(wire, role)) for role in ROLES] == [
        [policy_name(HERE)]
    ] * 3


def test_last_region_deletes_the_roles(serving, chandra, wire):
    chandra("iam", "--create", "--region", OTHER_REGION)
    chandra(*DESTROY_ELSEWHERE)

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert role_names(wire) == []
    assert keys_of_objects(wire) == []
    assert "would keep" not in ran.out


def test_staged_weights_without_a_deployment_stay(cloud, wire, hub, chandra):
    """The bucket is in the region of a deployment that does not exist yet."""
    cloud.regions = [HERE, OTHER_REGION]
    stage(wire, hub)
    before = keys_of_objects(wire)

    ran = chandra(*DESTROY_ELSEWHERE, "--json")

    (kept,) = kept_resources(ran).values()
    assert keys_of_objects(wire) == before
    assert kept["reason"] == "the bucket is in us-east-1"
    assert kept["remedy"] == (
        "chandra-sagemaker destroy --all --region us-east-1 deletes them"
    )


def test_documents_and_results_of_another_region_stay(serving, chandra, wire, project):
    project('[asynchronous]\nbucket = "exchange"\n')
    wire.call("s3", "create_bucket", Bucket="exchange")
    wire.call(
        "s3", "put_object", Bucket="exchange", Key="async/ocr/out/a.json", Body=b"{}"
    )

    ran = chandra(*DESTROY_ELSEWHERE, "--json")

    assert keys_of_objects(wire, "exchange") == ["async/ocr/out/a.json"]
    assert "objects in s3://exchange (1 of documents and results)" in kept_resources(
        ran
    )


def test_results_of_a_queue_in_another_region_stay(
    serving, chandra, wire, wire_elsewhere, project
):
    """The queues of both regions write below one prefix of one bucket."""
    project('[asynchronous]\nbucket = "weights"\n')
    wire.call(
        "s3", "put_object", Bucket="weights", Key="async/ocr/out/a.json", Body=b"{}"
    )
    create_model(wire_elsewhere, "ocr-async-1", "theirs", tag="ocr-async")

    ran = chandra("destroy", "--all", "--json")

    assert ran.status == 0, ran.err
    assert keys_of_objects(wire) == ["async/ocr/out/a.json"]
    assert kept_resources(ran)["documents and results in s3://weights"]["reason"] == (
        "eu-west-1 has model ocr-async-1"
    )


def test_model_of_others_elsewhere_keeps_its_role_and_weights(
    serving, chandra, wire, wire_elsewhere
):
    address = "s3://weights/models/datalab-to/chandra/0123abc/"
    create_model(wire_elsewhere, Environment={"MODEL_S3_URI": address})
    before = keys_of_objects(wire)

    ran = chandra("destroy", "--all", "--json")

    assert ran.status == 0, ran.err
    assert role_names(wire) == ["ocr-execution"]
    assert keys_of_objects(wire) == before
    assert kept_resources(ran)["staged weights in s3://weights"]["reason"] == (
        "model other-1 in eu-west-1 loads them"
    )
    assert kept_resources(ran)["role ocr-execution"]["reason"].startswith(
        "model other-1 in eu-west-1 runs with it"
    )


def test_model_of_others_with_our_role_stops_destroy(serving, chandra, wire):
    create_model(wire)

    ran = chandra("destroy", "--all")

    assert ran.status == 5
    assert "model other-1, which is not of deployment ocr, uses role ocr" in ran.err
    assert serving.changes == ["sagemaker:CreateModel"]


def test_unreadable_region_stops_destroy(serving, chandra):
    serving.forbidden = {f"{OTHER_REGION}/sagemaker:ListModels"}

    ran = chandra("destroy", "--all")

    assert ran.status == 8
    assert "eu-west-1 cannot be asked whether ocr is deployed there" in ran.err
    assert "--keep-global" in ran.err
    assert "--not-in eu-west-1" in ran.err
    assert serving.changes == []


def test_all_unreadable_regions_are_named(serving, chandra):
    serving.regions = [HERE, OTHER_REGION, "eu-west-2", "eu-west-3"]
    serving.forbidden = {
        f"{OTHER_REGION}/sagemaker:ListModels",
        "eu-west-3/sagemaker:ListModels",
    }

    ran = chandra("destroy", "--all")

    assert ran.status == 8
    assert "eu-west-1 and eu-west-3 cannot be asked whether ocr is" in ran.err
    flags = "--not-in eu-west-1 --not-in eu-west-3"
    assert f"destroy --all {flags}" in ran.err
    assert chandra("destroy", "--all", *flags.split()).status == 0


@pytest.mark.slow
def test_without_rights_the_regions_of_boto3_are_asked(serving, chandra):
    serving.forbidden = {"ec2:DescribeRegions", "af-south-1/sagemaker:ListEndpoints"}

    ran = chandra("destroy", "--all")

    assert ran.status == 8
    assert "af-south-1 cannot be asked" in ran.err
    assert "not known without ec2:DescribeRegions" in ran.err
    assert serving.changes == []


def test_region_named_by_not_in_is_not_queried(serving, chandra, wire):
    serving.forbidden = {f"{OTHER_REGION}/sagemaker:ListModels"}

    ran = chandra("destroy", "--all", "--not-in", OTHER_REGION)

    assert ran.status == 0, ran.err
    assert role_names(wire) == []


def test_role_stays_until_policies_of_skipped_regions_are_gone(serving, chandra, wire):
    """--not-in alone does not release a role: users copy its list from an error."""
    chandra("iam", "--create", "--region", OTHER_REGION)
    chandra("destroy", "--all", "--not-in", OTHER_REGION)
    before = [list(policies_of_role(wire, role)) for role in ROLES]
    for role in ROLES:
        wire.call(
            "iam",
            "delete_role_policy",
            RoleName=role,
            PolicyName=policy_name(OTHER_REGION),
        )

    ran = chandra("destroy", "--all", "--not-in", OTHER_REGION)

    assert before == [[policy_name(OTHER_REGION)]] * 3
    assert ran.status == 0, ran.err
    assert role_names(wire) == []


def test_keep_global_asks_no_other_region(serving, chandra, wire):
    serving.forbidden = {f"{OTHER_REGION}/sagemaker:ListModels"}
    before = keys_of_objects(wire)

    ran = chandra("destroy", "--all", "--keep-global")

    assert ran.status == 0, ran.err
    assert serving.machines == {}
    assert role_names(wire) == ROLES
    assert keys_of_objects(wire) == before
    assert "kept role ocr-execution: --keep-global" in ran.out
    assert serving.elsewhere == {}


@pytest.mark.parametrize("flags", [("--keep-global",), ("--not-in", OTHER_REGION)])
def test_flags_that_need_all_are_rejected_alone(serving, chandra, flags):
    ran = chandra("destroy", *flags)

    assert ran.status == 2
    assert serving.changes == []


def test_unreadable_models_are_named(serving, chandra, wire_elsewhere):
    create_model(wire_elsewhere, role="theirs")
    serving.forbidden = {f"{OTHER_REGION}/sagemaker:DescribeModel"}

    ran = chandra("destroy", "--all", "--dry-run")

    assert ran.status == 0, ran.err
    assert "1 models of others in eu-west-1 cannot be described, such as other-1" in (
        ran.out
    )


@pytest.mark.parametrize("flags", [(), ("--all",)])
def test_dashboard_of_another_region_stays(serving, chandra, wire, flags):
    chandra("dashboard", "--create")

    ran = chandra("destroy", "--region", OTHER_REGION, *flags)

    dashboards = wire.call("cloudwatch", "list_dashboards")["DashboardEntries"]
    assert [each["DashboardName"] for each in dashboards] == ["ocr"]
    assert "dashboard ocr: it shows us-east-1" in ran.out


def test_dashboard_of_another_region_is_not_replaced(serving, chandra):
    chandra("dashboard", "--create")
    serving.calls.clear()

    ran = chandra("dashboard", "--create", "--region", OTHER_REGION)

    assert ran.status == 5
    assert "dashboard ocr shows the deployment in us-east-1" in ran.err
    assert serving.changes == []


def test_attached_policy_is_detached_before_the_role_goes(serving, chandra, wire):
    policy = wire.call(
        "iam",
        "create_policy",
        PolicyName="theirs",
        PolicyDocument=json.dumps(policies_of_role(wire)[policy_name(HERE)]),
    )["Policy"]["Arn"]
    wire.call("iam", "attach_role_policy", RoleName="ocr-execution", PolicyArn=policy)

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert f"detach policy {policy} from role ocr-execution" in ran.out
    assert role_names(wire) == []


def test_roles_of_a_deployment_named_like_the_queue_stay(serving, chandra, wire):
    wire.call(
        "iam",
        "create_role",
        RoleName="ocr-async-execution",
        AssumeRolePolicyDocument="{}",
        Tags=[{"Key": "chandra-torchserve:deployment", "Value": "ocr-async"}],
    )

    chandra("destroy", "--all")

    assert role_names(wire) == ["ocr-async-execution"]


@pytest.mark.parametrize("region", [HERE, OTHER_REGION])
def test_region_of_a_bucket_is_known_from_everywhere(cloud, wire, region):
    where = {} if region == HERE else {"LocationConstraint": region}
    wire.in_region(region).call(
        "s3",
        "create_bucket",
        Bucket="weights",
        **({"CreateBucketConfiguration": where} if where else {}),
    )

    assert bucket_region(wire, "weights") == region
    assert bucket_region(wire.in_region(OTHER_REGION), "weights") == region
