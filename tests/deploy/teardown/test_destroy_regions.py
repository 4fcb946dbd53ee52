"""`destroy --all` in one region leaves what a deployment in another one uses."""

from __future__ import annotations

import json

import pytest

from deploy.aws.buckets import bucket_region
from deploy.policies import policy_name
from tests.deploy.accounts import IDENTITY, IMAGE
from tests.deploy.conftest import stage
from tests.deploy.images import publish
from tests.deploy.policies.test_iam_regions import policies

# Each test makes about a hundred calls over HTTP.
pytestmark = pytest.mark.slow

HERE, THERE = "us-east-1", "eu-west-1"
ELSEWHERE = ("destroy", "--all", "--region", THERE)
ROLES = ["ocr-build", "ocr-execution", "ocr-scheduler"]


@pytest.fixture
def live(cloud, wire, hub, chandra):
    """A deployment that serves in us-east-1, in an account with two regions."""
    cloud.regions = [HERE, THERE]
    stage(wire, hub)
    publish(wire, IMAGE)
    assert chandra("iam", "--create").status == 0
    assert chandra("deploy").status == 0
    cloud.calls.clear()
    return cloud


@pytest.fixture
def there(wire):
    """Client of the same account in eu-west-1."""
    return wire.in_region(THERE)


def roles(wire):
    return sorted(role["RoleName"] for role in wire.call("iam", "list_roles")["Roles"])


def keys(wire, bucket="weights"):
    return sorted(item["Key"] for item in wire.objects(bucket, ""))


def make_model(aws, name="other-1", role="ocr-execution", tag="other", **container):
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


def kept(ran):
    """Return the reason and the remedy of each kept resource, by resource."""
    return {each["what"]: each for each in ran.json["kept"]}


def test_live_deployment_of_another_region_keeps_all(live, chandra, wire):
    before = keys(wire)

    ran = chandra(*ELSEWHERE, "--json")

    assert ran.status == 0, ran.err
    assert live.changes == []
    found = kept(ran)
    assert found["role ocr-execution"]["reason"] == (
        "us-east-1 has endpoint ocr and 2 more"
    )
    assert found["objects in s3://weights (3 of staged weights)"]["reason"] == (
        "the bucket is in us-east-1, and us-east-1 has endpoint ocr and 2 more"
    )
    # No hint stops the serving endpoint.
    assert "destroy --all --region us-east-1" not in ran.out
    assert roles(wire) == ROLES
    assert keys(wire) == before
    assert live.machines["ocr"].status == "InService"
    assert chandra("doctor", "--json").json["findings"] == []


def test_second_region_loses_its_own_policies_only(live, chandra, wire):
    chandra("iam", "--create", "--region", THERE)

    ran = chandra(*ELSEWHERE)

    assert ran.status == 0, ran.err
    assert f"delete policy {policy_name(THERE)} of role ocr-execution" in ran.out
    assert "deployment ocr is gone from eu-west-1" in ran.out
    assert [list(policies(wire, role)) for role in ROLES] == [[policy_name(HERE)]] * 3


def test_last_region_deletes_the_roles(live, chandra, wire):
    chandra("iam", "--create", "--region", THERE)
    chandra(*ELSEWHERE)

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert roles(wire) == []
    assert keys(wire) == []
    assert "would keep" not in ran.out


def test_staged_weights_without_a_deployment_stay(cloud, wire, hub, chandra):
    """The bucket is in the region of a deployment that does not exist yet."""
    cloud.regions = [HERE, THERE]
    stage(wire, hub)
    before = keys(wire)

    ran = chandra(*ELSEWHERE, "--json")

    (found,) = kept(ran).values()
    assert keys(wire) == before
    assert found["reason"] == "the bucket is in us-east-1"
    assert found["remedy"] == (
        "chandra-sagemaker destroy --all --region us-east-1 deletes them"
    )


def test_documents_and_results_of_another_region_stay(live, chandra, wire, project):
    project('[asynchronous]\nbucket = "exchange"\n')
    wire.call("s3", "create_bucket", Bucket="exchange")
    wire.call(
        "s3", "put_object", Bucket="exchange", Key="async/ocr/out/a.json", Body=b"{}"
    )

    ran = chandra(*ELSEWHERE, "--json")

    assert keys(wire, "exchange") == ["async/ocr/out/a.json"]
    assert "objects in s3://exchange (1 of documents and results)" in kept(ran)


def test_results_of_a_queue_in_another_region_stay(live, chandra, wire, there, project):
    """The queues of both regions write below one prefix of one bucket."""
    project('[asynchronous]\nbucket = "weights"\n')
    wire.call(
        "s3", "put_object", Bucket="weights", Key="async/ocr/out/a.json", Body=b"{}"
    )
    make_model(there, "ocr-async-1", "theirs", tag="ocr-async")

    ran = chandra("destroy", "--all", "--json")

    assert ran.status == 0, ran.err
    assert keys(wire) == ["async/ocr/out/a.json"]
    assert kept(ran)["documents and results in s3://weights"]["reason"] == (
        "eu-west-1 has model ocr-async-1"
    )


def test_model_of_others_elsewhere_keeps_its_role_and_weights(
    live, chandra, wire, there
):
    address = "s3://weights/models/datalab-to/chandra/0123abc/"
    make_model(there, Environment={"MODEL_S3_URI": address})
    before = keys(wire)

    ran = chandra("destroy", "--all", "--json")

    assert ran.status == 0, ran.err
    assert roles(wire) == ["ocr-execution"]
    assert keys(wire) == before
    assert kept(ran)["staged weights in s3://weights"]["reason"] == (
        "model other-1 in eu-west-1 loads them"
    )
    assert kept(ran)["role ocr-execution"]["reason"].startswith(
        "model other-1 in eu-west-1 runs with it"
    )


def test_model_of_others_with_our_role_stops_destroy(live, chandra, wire):
    make_model(wire)

    ran = chandra("destroy", "--all")

    assert ran.status == 5
    assert "model other-1, which is not of deployment ocr, uses role ocr" in ran.err
    assert live.changes == ["sagemaker:CreateModel"]


def test_unreadable_region_stops_destroy(live, chandra):
    live.forbidden = {f"{THERE}/sagemaker:ListModels"}

    ran = chandra("destroy", "--all")

    assert ran.status == 8
    assert "eu-west-1 cannot be asked whether ocr is deployed there" in ran.err
    assert "--keep-global" in ran.err
    assert "--not-in eu-west-1" in ran.err
    assert live.changes == []


def test_all_unreadable_regions_are_named(live, chandra):
    live.regions = [HERE, THERE, "eu-west-2", "eu-west-3"]
    live.forbidden = {f"{THERE}/sagemaker:ListModels", "eu-west-3/sagemaker:ListModels"}

    ran = chandra("destroy", "--all")

    assert ran.status == 8
    assert "eu-west-1 and eu-west-3 cannot be asked whether ocr is" in ran.err
    flags = "--not-in eu-west-1 --not-in eu-west-3"
    assert f"destroy --all {flags}" in ran.err
    assert chandra("destroy", "--all", *flags.split()).status == 0


@pytest.mark.slow
def test_without_rights_the_regions_of_boto3_are_asked(live, chandra):
    live.forbidden = {"ec2:DescribeRegions", "af-south-1/sagemaker:ListEndpoints"}

    ran = chandra("destroy", "--all")

    assert ran.status == 8
    assert "af-south-1 cannot be asked" in ran.err
    assert "not known without ec2:DescribeRegions" in ran.err
    assert live.changes == []


def test_region_named_by_not_in_is_not_queried(live, chandra, wire):
    live.forbidden = {f"{THERE}/sagemaker:ListModels"}

    ran = chandra("destroy", "--all", "--not-in", THERE)

    assert ran.status == 0, ran.err
    assert roles(wire) == []


def test_role_stays_until_policies_of_skipped_regions_are_gone(live, chandra, wire):
    """--not-in alone does not release a role: users copy its list from an error."""
    chandra("iam", "--create", "--region", THERE)
    chandra("destroy", "--all", "--not-in", THERE)
    before = [list(policies(wire, role)) for role in ROLES]
    for role in ROLES:
        wire.call(
            "iam", "delete_role_policy", RoleName=role, PolicyName=policy_name(THERE)
        )

    ran = chandra("destroy", "--all", "--not-in", THERE)

    assert before == [[policy_name(THERE)]] * 3
    assert ran.status == 0, ran.err
    assert roles(wire) == []


def test_keep_global_asks_no_other_region(live, chandra, wire):
    live.forbidden = {f"{THERE}/sagemaker:ListModels"}
    before = keys(wire)

    ran = chandra("destroy", "--all", "--keep-global")

    assert ran.status == 0, ran.err
    assert live.machines == {}
    assert roles(wire) == ROLES
    assert keys(wire) == before
    assert "kept role ocr-execution: --keep-global" in ran.out
    assert live.elsewhere == {}


@pytest.mark.parametrize("flags", [("--keep-global",), ("--not-in", THERE)])
def test_flags_that_need_all_are_rejected_alone(live, chandra, flags):
    ran = chandra("destroy", *flags)

    assert ran.status == 2
    assert live.changes == []


def test_unreadable_models_are_named(live, chandra, there):
    make_model(there, role="theirs")
    live.forbidden = {f"{THERE}/sagemaker:DescribeModel"}

    ran = chandra("destroy", "--all", "--dry-run")

    assert ran.status == 0, ran.err
    assert "1 models of others in eu-west-1 cannot be described, such as other-1" in (
        ran.out
    )


@pytest.mark.parametrize("flags", [(), ("--all",)])
def test_dashboard_of_another_region_stays(live, chandra, wire, flags):
    chandra("dashboard", "--create")

    ran = chandra("destroy", "--region", THERE, *flags)

    found = wire.call("cloudwatch", "list_dashboards")["DashboardEntries"]
    assert [each["DashboardName"] for each in found] == ["ocr"]
    assert "dashboard ocr: it shows us-east-1" in ran.out


def test_dashboard_of_another_region_is_not_replaced(live, chandra):
    chandra("dashboard", "--create")
    live.calls.clear()

    ran = chandra("dashboard", "--create", "--region", THERE)

    assert ran.status == 5
    assert "dashboard ocr shows the deployment in us-east-1" in ran.err
    assert live.changes == []


def test_attached_policy_is_detached_before_the_role_goes(live, chandra, wire):
    policy = wire.call(
        "iam",
        "create_policy",
        PolicyName="theirs",
        PolicyDocument=json.dumps(policies(wire)[policy_name(HERE)]),
    )["Policy"]["Arn"]
    wire.call("iam", "attach_role_policy", RoleName="ocr-execution", PolicyArn=policy)

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert f"detach policy {policy} from role ocr-execution" in ran.out
    assert roles(wire) == []


def test_roles_of_a_deployment_named_like_the_queue_stay(live, chandra, wire):
    wire.call(
        "iam",
        "create_role",
        RoleName="ocr-async-execution",
        AssumeRolePolicyDocument="{}",
        Tags=[{"Key": "chandra-torchserve:deployment", "Value": "ocr-async"}],
    )

    chandra("destroy", "--all")

    assert roles(wire) == ["ocr-async-execution"]


@pytest.mark.parametrize("region", [HERE, THERE])
def test_region_of_a_bucket_is_known_from_everywhere(cloud, wire, region):
    where = {} if region == HERE else {"LocationConstraint": region}
    wire.in_region(region).call(
        "s3",
        "create_bucket",
        Bucket="weights",
        **({"CreateBucketConfiguration": where} if where else {}),
    )

    assert bucket_region(wire, "weights") == region
    assert bucket_region(wire.in_region(THERE), "weights") == region
