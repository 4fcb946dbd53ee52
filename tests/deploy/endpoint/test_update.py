"""Commands `update` and `rollback` of a running endpoint."""

from __future__ import annotations

import pytest

from deploy.monitoring import ALARMS
from tests.deploy.accounts import OTHER_IMAGE

pytestmark = pytest.mark.usefixtures("staged")


def test_update_to_other_machines_changes_the_config(chandra, cloud):
    chandra("deploy")

    ran = chandra("update", "--instance-type", "ml.g5.2xlarge", "--env", "A=1")

    assert ran.status == 0, ran.err
    variant = cloud.variants[cloud.machines["ocr"].config][0]
    assert variant["InstanceType"] == "ml.g5.2xlarge"
    assert "chandra.toml has other settings" in ran.out


def test_recreate_works_with_a_quota_of_one(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 1}
    chandra("deploy")

    blue_green = chandra("update", "--image", OTHER_IMAGE)
    recreated = chandra("update", "--image", OTHER_IMAGE, "--strategy", "recreate")

    assert blue_green.status == 6
    assert "service limit" in blue_green.err
    assert recreated.status == 0, recreated.err
    assert cloud.machines["ocr"].status == "InService"


@pytest.mark.parametrize(
    "command",
    [("deploy",), ("update", "--image", OTHER_IMAGE)],
    ids=["deploy", "update"],
)
def test_serving_endpoint_is_deleted_after_a_yes_only(chandra, cloud, project, command):
    chandra("deploy")
    project('[update]\nstrategy = "recreate"\n', image=OTHER_IMAGE)

    ran = chandra(*command, yes=False)

    assert ran.status == 2
    assert "add --yes" in ran.err
    assert cloud.machines["ocr"].status == "InService"


def test_update_reports_that_it_needs_twice_the_machines(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 1}
    chandra("deploy")

    ran = chandra("update", "--image", OTHER_IMAGE, "--dry-run")

    assert ran.status == 0, ran.err
    assert (
        "may run 1 ml.g6e.2xlarge for endpoints; 1 are requested beside 1 of endpoint "
        "ocr, which serves until the new ones do"
    ) in ran.out
    assert "request-service-quota-increase" in ran.out
    assert "--desired-value 2" in ran.out


def test_update_before_a_deploy_is_an_error(chandra):
    ran = chandra("update", "--instance-count", "2")

    assert ran.status == 4
    assert "try:   chandra-sagemaker deploy" in ran.err


def test_update_does_not_create_an_endpoint(chandra, cloud):
    ran = chandra("update", "--instance-count", "2", "--strategy", "recreate")

    assert ran.status == 4
    assert cloud.changes == []


def test_update_watches_the_created_alarms(chandra, cloud):
    chandra("deploy")
    chandra("alarms", "--create")

    ran = chandra("update", "--image", OTHER_IMAGE, "--dry-run")

    assert f"watching {len(ALARMS)} alarms" in ran.out
    assert "there are no alarms" not in ran.out


def test_update_without_alarms_prints_a_note(chandra, project):
    first = chandra("deploy")
    update = ("update", "--image", OTHER_IMAGE, "--dry-run")
    unwatched = chandra(*update)
    project("[update]\nuse_alarms = false\n")
    on_purpose = chandra(*update)

    assert "note: there are no alarms" in unwatched.out
    assert "chandra-sagemaker alarms --create" in unwatched.out
    assert "no alarms" not in first.out + on_purpose.out


def test_rollback_serves_the_previous_config(chandra, cloud, project, at):
    chandra("deploy")
    first = cloud.machines["ocr"].config
    project(image=OTHER_IMAGE)
    at.now += 60
    chandra("deploy")
    second = cloud.machines["ocr"].config

    at.now += 60
    back = chandra("rollback")
    restored = cloud.machines["ocr"].config
    at.now += 60
    forth = chandra("rollback", "--to", second)

    assert back.status == forth.status == 0, back.err + forth.err
    assert restored == first
    assert cloud.machines["ocr"].config == second
    assert "or the next deploy reverts them" in back.out
    assert "image: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb" in back.out
    assert "the next deploy changes nothing" in forth.out


def test_rollback_after_one_deployment_is_an_error(chandra):
    chandra("deploy")

    assert chandra("rollback").status == 4
    assert chandra("rollback", "--to", "ocr-00000000").status == 4


def test_update_does_not_start_a_stopped_endpoint(chandra, cloud, at):
    chandra("deploy")
    at.now += 60
    chandra("stop", "--yes")
    at.now += 60
    cloud.calls.clear()

    ran = chandra("update", "--env", "A=1", "--strategy", "recreate", "--yes")

    assert ran.status == 4
    assert "there is no endpoint ocr to update" in ran.err
    assert "chandra-sagemaker start" in ran.err
    assert cloud.changes == []


def test_update_does_not_start_a_stopping_endpoint(chandra, cloud, at):
    chandra("deploy")
    at.now += 60
    chandra("stop", "--no-wait")
    cloud.calls.clear()

    ran = chandra("update", "--env", "A=1", "--yes")

    assert ran.status == 4
    assert "there is no endpoint ocr to update" in ran.err
    assert cloud.changes == []


def test_rollback_during_an_update_keeps_the_serving_config(
    chandra, cloud, project, at
):
    cloud.num_descriptions = 1
    chandra("deploy")
    at.now += 60
    chandra("update", "--env", "A=1")
    serving = cloud.machines["ocr"].config
    at.now += 60
    chandra("update", "--env", "A=2", "--no-wait")
    pending = cloud.machines["ocr"].pending

    ran = chandra("rollback")

    assert ran.status == 0, ran.err
    assert f"from config {pending} to {serving}" in ran.out
    assert cloud.machines["ocr"].config == serving


def test_count_of_a_scaled_endpoint_is_not_updated(chandra, wire, cloud):
    chandra("deploy")
    wire.call(
        "application-autoscaling",
        "register_scalable_target",
        ServiceNamespace="sagemaker",
        ResourceId="endpoint/ocr/variant/AllTraffic",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=3,
    )
    cloud.calls.clear()

    ran = chandra("update", "--instance-count", "2", "--env", "A=1")

    assert ran.status == 2
    assert "Application Auto Scaling sets the number of machines" in ran.err
    assert cloud.changes == []
