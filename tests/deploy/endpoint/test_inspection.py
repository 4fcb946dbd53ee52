"""Preflight checks on AWS: weights, images, network and keys."""

from __future__ import annotations

import pytest

from deploy.checks import config_findings
from deploy.endpoint.inspection import image_findings, weights_findings
from deploy.errors import CredentialsError
from deploy.policies import execution_policy
from deploy.weights.files import MANIFEST
from tests.deploy.accounts import IDENTITY, IMAGE, OTHER_IMAGE, configured
from tests.deploy.conftest import Script
from tests.deploy.images import OCI, REPOSITORY, oci_manifest, put_image

PREFIX = "models/datalab-to/chandra/0123abc/"
THEIRS = (
    "999999999999.dkr.ecr.us-east-1.amazonaws.com/shared/chandra@sha256:" + "c" * 64
)


def put_weights(wire, name, content=b"x"):
    wire.call("s3", "put_object", Bucket="weights", Key=PREFIX + name, Body=content)


def remove_weights(wire, name):
    wire.call("s3", "delete_object", Bucket="weights", Key=PREFIX + name)


FAULTS = {
    "no weights that `model stage` finished": lambda wire: remove_weights(
        wire, MANIFEST
    ),
    "1 of the 2 files": lambda wire: remove_weights(wire, "model.safetensors"),
    "of another size: model.safetensors": lambda wire: put_weights(
        wire, "model.safetensors"
    ),
    "holds old.safetensors, which its": lambda wire: put_weights(
        wire, "old.safetensors"
    ),
}


@pytest.mark.parametrize(("sentence", "damage"), FAULTS.items(), ids=FAULTS)
@pytest.mark.parametrize(
    ("command", "status"), [("doctor", 1), ("plan", 1), ("deploy", 2)]
)
def test_incomplete_weights_stop_before_any_change(
    staged, chandra, wire, cloud, sentence, damage, command, status
):
    damage(wire)
    cloud.calls.clear()

    ran = chandra(command)

    assert ran.status == status
    assert sentence in ran.out + ran.err
    assert "model stage" in ran.out + ran.err
    assert cloud.changes == []


@pytest.mark.parametrize("command", ["doctor", "plan", "deploy"])
def test_weights_in_another_region_stop_before_any_change(
    chandra, wire, cloud, command
):
    wire.call(
        "s3",
        "create_bucket",
        Bucket="weights",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )
    cloud.calls.clear()

    ran = chandra(command)

    assert ran.status in (1, 2)
    assert "bucket weights is in eu-west-1" in ran.out + ran.err
    assert cloud.changes == []


def test_unchanged_deployment_checks_no_weights(staged, chandra, wire):
    """A repeated deploy changes nothing, so it starts no machine with the weights."""
    chandra("deploy")
    remove_weights(wire, MANIFEST)

    assert "no changes" in chandra("deploy").out


def test_unreadable_weights_are_reported_as_unchecked(script, aws):
    scripted = script("s3")
    scripted.expects("get_bucket_location").refuses("AccessDenied", "not yours")
    scripted.expects("head_bucket").refuses("403", "Forbidden")

    with scripted:
        (finding,) = weights_findings(aws, configured())

    assert not finding.is_fatal
    assert "could not be checked" in finding.sentence


@pytest.fixture
def findings_of_image(identified_aws):
    """Return a function that checks the image at an address and returns findings.

    ECR answers it with `media_type`, or with the error `code`.
    """

    def findings(uri, *, code=None, media_type="application/vnd.docker"):
        ecr = Script(identified_aws.client("ecr"))
        expected_call = ecr.expects(
            "describe_images",
            registryId=uri.partition(".")[0],
            repositoryName=uri.partition("/")[2].partition("@")[0],
            imageIds=[{"imageDigest": uri.partition("@")[2]}],
        )
        if code is None:
            detail = {"imageDigest": "sha256:1", "imageManifestMediaType": media_type}
            expected_call.answers(imageDetails=[detail])
        else:
            expected_call.refuses(code, "no such luck")
        with ecr:
            return image_findings(identified_aws, configured(image={"uri": uri}))

    return findings


def test_image_of_another_account_is_checked_there(findings_of_image):
    finding = findings_of_image(THEIRS, media_type=OCI)[0]

    assert finding.is_fatal
    assert "which SageMaker does not support" in finding.sentence


def test_unreadable_foreign_image_is_unchecked(findings_of_image):
    (finding,) = findings_of_image(THEIRS, code="AccessDeniedException")

    assert not finding.is_fatal
    assert "shared/chandra of account 999999999999" in finding.sentence
    assert "has to let this account's endpoint pull it" in finding.sentence


def test_expired_credentials_end_the_image_check(findings_of_image):
    with pytest.raises(CredentialsError):
        findings_of_image(THEIRS, code="ExpiredTokenException")


@pytest.mark.parametrize(
    "code", ["ImageNotFoundException", "RepositoryNotFoundException"]
)
def test_missing_image_is_named_with_its_repository(findings_of_image, code):
    (finding,) = findings_of_image(IMAGE, code=code)

    assert finding.is_fatal
    assert f"there is no image sha256:{'a' * 64} in chandra-torchserve" in (
        finding.sentence
    )


def test_policy_allows_pulls_from_the_images_repository():
    config = configured(image={"uri": THEIRS})
    (statement,) = (
        s
        for s in execution_policy(config, IDENTITY)["Statement"]
        if s["Sid"] == "Image"
    )

    assert statement["Resource"] == [
        "arn:aws:ecr:us-east-1:999999999999:repository/shared/chandra"
    ]


def test_image_outside_ecr_is_rejected():
    config = configured(image={"uri": "docker.io/us/chandra@sha256:1"})

    (finding,) = config_findings(config)

    assert finding.is_fatal
    assert "is in docker.io, and SageMaker pulls from ECR only" in finding.sentence


REPOSITORY_URI = IMAGE.partition("@")[0]
UNUSABLE_IMAGES = {
    "there is no image sha256:ccc": (
        lambda wire: f"{REPOSITORY_URI}@sha256:{'c' * 64}",
        "image push",
    ),
    "the image is application/vnd.oci.image.manifest": (
        lambda wire: f"{REPOSITORY_URI}@{put_image(wire, oci_manifest(), 'v1', OCI)}",
        "image check --fix",
    ),
}


@pytest.mark.parametrize("sentence", UNUSABLE_IMAGES)
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("doctor",), 1),
        (("plan",), 1),
        (("deploy",), 2),
        (("deploy", "--dry-run"), 2),
        (("async", "deploy"), 2),
    ],
    ids=["doctor", "plan", "deploy", "dry run", "async deploy"],
)
def test_unusable_image_stops_before_any_change(
    staged, chandra, wire, cloud, project, sentence, command, status
):
    publish_image, hint = UNUSABLE_IMAGES[sentence]
    wire.call("s3", "create_bucket", Bucket="exchange")
    project('[asynchronous]\nbucket = "exchange"\n', image=publish_image(wire))
    cloud.calls.clear()

    ran = chandra(*command)

    assert ran.status == status
    assert sentence in ran.out + ran.err
    assert f"chandra-sagemaker {hint}" in ran.out + ran.err
    assert cloud.changes == []


def test_hint_repairs_the_rejected_image(staged, chandra, wire):
    """The hint names the rejected image, not the one that was pushed last."""
    name = put_image(wire, oci_manifest(), "v1", OCI)
    rejected = chandra("deploy", "--image", f"{REPOSITORY_URI}@{name}")
    command = rejected.err.partition("try:   chandra-sagemaker ")[2].splitlines()[0]

    fixed = chandra(*command.split())

    assert command == "image check --fix --tag v1"
    assert fixed.status == 0, fixed.err
    assert f"put image {REPOSITORY}:v1-v2s2" in fixed.out


def test_update_to_a_missing_image_changes_nothing(staged, chandra, cloud):
    chandra("deploy")
    before = cloud.machines["ocr"].config
    cloud.calls.clear()

    ran = chandra("update", "--image", f"{REPOSITORY_URI}@sha256:{'c' * 64}")

    assert ran.status == 2
    assert "there is no image sha256:ccc" in ran.err
    assert cloud.changes == []
    assert cloud.machines["ocr"].config == before


@pytest.mark.parametrize("command", ["rollback", "start"])
def test_old_config_without_its_image_is_not_started(
    staged, chandra, wire, cloud, at, command
):
    """Repositories delete old images, so `start` and `rollback` check the image."""
    chandra("deploy", "--image", OTHER_IMAGE)
    if command == "rollback":
        at.now += 60
        chandra("deploy")
    else:
        chandra("stop")
    wire.call(
        "ecr",
        "batch_delete_image",
        repositoryName=REPOSITORY,
        imageIds=[{"imageDigest": OTHER_IMAGE.partition("@")[2]}],
    )
    cloud.calls.clear()

    ran = chandra(command)

    assert ran.status == 2
    assert "there is no image sha256:bbb" in ran.err
    assert "chandra-sagemaker list shows the configs" in ran.err
    assert cloud.changes == []


def test_unchanged_deployment_checks_no_image(staged, chandra, wire):
    """An unchanged deployment pulls no image, so `deploy` and `plan` succeed."""
    chandra("deploy")
    wire.call("ecr", "delete_repository", repositoryName=REPOSITORY, force=True)

    assert "no changes" in chandra("deploy").out
    assert "no changes" in chandra("plan").out


def test_offline_plan_does_not_ask_the_registry(staged, chandra, cloud):
    ran = chandra("plan", "--offline", "--image", f"{REPOSITORY_URI}@sha256:{'c' * 64}")

    assert ran.status == 0, ran.out
    assert "sha256:ccc" in ran.out
    assert cloud.calls == []


def test_image_of_another_region_is_reported_once(staged, chandra, cloud):
    ran = chandra("plan", "--image", IMAGE.replace("us-east-1", "eu-west-1"))

    assert ran.status == 1
    assert ran.out.count("the image is in eu-west-1") == 1


@pytest.fixture
def network_parts(wire, cloud):
    """Return the subnets and the security group of the account's default VPC."""
    subnets = wire.call("ec2", "describe_subnets")["Subnets"]
    (group,) = wire.call("ec2", "describe_security_groups")["SecurityGroups"]
    return subnets, group


def network_table(subnets, groups, extra=""):
    return f"[network]\nsubnets = {subnets}\nsecurity_groups = {groups}\n{extra}"


def test_existing_network_passes(chandra, project, network_parts):
    subnets, group = network_parts
    ids = [subnet["SubnetId"] for subnet in subnets[:2]]
    project(network_table(ids, [group["GroupId"]]))

    assert "ok    network" in chandra("doctor").out


@pytest.mark.parametrize("missing", ["subnet", "group"])
def test_missing_network_is_named(chandra, project, network_parts, missing):
    subnets, group = network_parts
    ids = (
        ["subnet-0badbadbadbadbadb"]
        if missing == "subnet"
        else [subnets[0]["SubnetId"]]
    )
    groups = ["sg-0badbadbadbadbadb"] if missing == "group" else [group["GroupId"]]
    project(network_table(ids, groups))

    ran = chandra("doctor")

    assert "wrong network: ec2 describe_" in ran.out
    assert "set [network] subnets and security_groups" in ran.out


def test_network_of_two_vpcs_is_rejected(chandra, project, network_parts, wire):
    subnets, _ = network_parts
    vpc = wire.call("ec2", "create_vpc", CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    made = wire.call(
        "ec2", "create_security_group", GroupName="g", Description="g", VpcId=vpc
    )
    project(network_table([subnets[0]["SubnetId"]], [made["GroupId"]]))

    assert "are of several VPCs" in chandra("doctor").out


def test_two_machines_in_one_zone_get_a_note(chandra, project, network_parts):
    subnets, group = network_parts
    project(
        network_table([subnets[0]["SubnetId"]], [group["GroupId"]])
        + "[endpoint]\ninstance_count = 2\n"
    )

    ran = chandra("doctor")

    assert "note  network: all subnets are in us-east-1" in ran.out


def test_missing_or_disabled_key_is_reported(chandra, wire, project):
    key = wire.call("kms", "create_key")["KeyMetadata"]["KeyId"]
    project(f'[network]\nkms_key = "{key}"\n')
    well = chandra("doctor").out
    wire.call("kms", "disable_key", KeyId=key)
    off = chandra("doctor").out
    project('[network]\nkms_key = "alias/nothing"\n')
    gone = chandra("doctor").out

    assert "ok    network" in well
    assert f"wrong network: key {key} is Disabled" in off
    assert "wrong network: there is no key alias/nothing in us-east-1" in gone
