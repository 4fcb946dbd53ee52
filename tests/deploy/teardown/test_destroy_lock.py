"""`destroy --all` removes the values of deleted resources from the lock file."""

from __future__ import annotations

import json

import pytest

from deploy.config import lock_path, write_lock
from tests.deploy.accounts import IMAGE
from tests.deploy.images import REPOSITORY

pytestmark = pytest.mark.usefixtures("staged")

IMAGE_TABLE = {"uri": IMAGE, "tag": "v1"}
OTHER_REGION = "eu-west-1"


@pytest.fixture
def lock(tmp_path):
    """Return the lock file of a deployment; only it names the image and weights."""
    path = tmp_path / "chandra.toml"
    path.write_text('name = "ocr"\nregion = "us-east-1"\n[model]\nbucket = "weights"\n')
    write_lock(path, "image", IMAGE_TABLE)
    write_lock(path, "model", {"revision": "0123abc"})
    return lock_path(path)


def tables_of(lock):
    return sorted(json.loads(lock.read_text()))


def test_lock_of_a_destroyed_deployment_is_removed(chandra, lock):
    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert not lock.exists()
    assert (
        "chandra.lock.json no longer names the image and weights: chandra-sagemaker "
        "image push and model stage before the next deploy"
    ) in ran.out


def test_deploy_after_destroy_all_says_what_to_do(chandra, lock):
    chandra("destroy", "--all")

    ran = chandra("deploy")

    assert ran.status == 2
    assert "no image has been pushed yet" in ran.err
    assert "chandra-sagemaker image push" in ran.err


def test_image_that_is_not_ours_stays_recorded(chandra, wire, lock):
    arn = wire.call("ecr", "describe_repositories")["repositories"][0]["repositoryArn"]
    wire.call(
        "ecr",
        "tag_resource",
        resourceArn=arn,
        tags=[{"Key": "chandra-torchserve:deployment", "Value": "other"}],
    )

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert tables_of(lock) == ["image"]


def test_lock_of_another_region_stays(chandra, lock):
    ran = chandra("destroy", "--all", "--region", OTHER_REGION)

    assert ran.status == 0, ran.err
    assert tables_of(lock) == ["image", "model"]


@pytest.mark.parametrize("flags", [(), ("--all", "--dry-run")])
def test_lock_stays_while_its_resources_exist(chandra, lock, flags):
    chandra("destroy", *flags)

    assert tables_of(lock) == ["image", "model"]


def test_lock_is_removed_the_second_time_after_an_interruption(
    chandra, cloud, wire, lock
):
    cloud.crash_after = 2
    interrupted = chandra("destroy", "--all")
    cloud.crash_after = None
    before = tables_of(lock)

    chandra("destroy", "--all")
    again = chandra("destroy", "--all")

    assert interrupted.status == 1
    assert before == ["image", "model"]
    assert not lock.exists()
    assert again.status == 0


def test_lock_is_removed_when_others_deleted_resources(chandra, wire, lock):
    wire.call("ecr", "delete_repository", repositoryName=REPOSITORY, force=True)
    for item in list(wire.objects("weights", "")):
        wire.call("s3", "delete_object", Bucket="weights", Key=item["Key"])

    ran = chandra("destroy", "--all")

    assert "nothing carries the tag of deployment ocr in us-east-1" in ran.out
    assert not lock.exists()


def test_lock_stays_when_the_registry_may_not_be_read(chandra, cloud, lock):
    cloud.forbidden = {"ecr:DescribeImages"}

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert tables_of(lock) == ["image", "model"]
    assert "chandra.lock.json was not changed: ecr describe_images" in ran.out
    assert "iam --caller prints the policy" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [("plan",), ("deploy",), ("async", "deploy")],
    ids=["plan", "deploy", "async-deploy"],
)
def test_stale_lock_names_the_next_command(chandra, wire, cloud, lock, arguments):
    with (lock.parent / "chandra.toml").open("a") as file:
        file.write('[asynchronous]\nbucket = "weights"\n')
    wire.call("ecr", "delete_repository", repositoryName=REPOSITORY, force=True)
    for item in list(wire.objects("weights", "")):
        wire.call("s3", "delete_object", Bucket="weights", Key=item["Key"])
    cloud.calls.clear()

    ran = chandra(*arguments)

    output = ran.out + ran.err
    assert ran.status in (1, 2)
    assert "chandra-sagemaker model stage" in output
    assert "there is no image" in output
    assert cloud.changes == []


def test_recorded_values_of_the_wrong_type_are_left_alone(chandra, project, tmp_path):
    path = tmp_path / "chandra.toml"
    project()
    write_lock(path, "image", {"uri": 5})
    write_lock(path, "model", {"revision": {}})

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert tables_of(lock_path(path)) == ["image", "model"]
