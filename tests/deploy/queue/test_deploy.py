"""Commands that deploy, stop, roll back and destroy a queue."""

from __future__ import annotations

import pytest

from deploy.queue.scaling import scalable_target
from tests.deploy.accounts import (
    OTHER_IMAGE,
)
from tests.deploy.queue.configs import QUEUE_CONFIG


def test_deploy_creates_endpoint_with_scaling(deployed, cloud, wire):
    assert cloud.machines["ocr-async"].status == "InService"
    policies = {
        p["PolicyName"]: p["PolicyARN"]
        for p in wire.pages(
            "application-autoscaling",
            "describe_scaling_policies",
            "ScalingPolicies",
            ServiceNamespace="sagemaker",
        )
    }
    alarms = {
        a["AlarmName"]: a["AlarmActions"]
        for a in wire.pages("cloudwatch", "describe_alarms", "MetricAlarms")
    }
    assert alarms == {
        "ocr-async-wake": [policies["wake"]],
        "ocr-async-idle": [policies["idle"]],
    }
    assert "0 to 2 machines; they stop after 65 idle minutes" in deployed.out


def test_second_deploy_changes_nothing(deployed, chandra, cloud):
    cloud.calls.clear()

    result = chandra("async", "deploy")

    assert result.status == 0, result.err
    assert "no changes" in result.out
    assert cloud.changes == []


def test_changed_limits_change_only_the_target(deployed, chandra, cloud, project):
    project(QUEUE_CONFIG + "max_instances = 5\n")
    cloud.calls.clear()

    result = chandra("async", "deploy")

    assert result.status == 0, result.err
    assert cloud.changes == ["application-autoscaling:RegisterScalableTarget"]


@pytest.mark.usefixtures("staged")
def test_dry_run_shows_all_changes(chandra, project, cloud):
    project(QUEUE_CONFIG)

    result = chandra("async", "deploy", "--dry-run")

    assert result.status == 0, result.err
    assert "would create endpoint ocr-async with config ocr-async-" in result.out
    assert "would set scaling policy wake" in result.out
    assert "would set alarm ocr-async-idle: no work for 65 minutes" in result.out
    assert cloud.changes == []


def test_destroy_removes_both_endpoints(deployed, chandra, cloud, wire):
    chandra("deploy")
    chandra("alarms", "--create")
    wire.call("s3", "put_object", Bucket="exchange", Key="async/ocr/in/1", Body=b"1")
    wire.call("s3", "put_object", Bucket="exchange", Key="other", Body=b"2")

    result = chandra("destroy", "--all")

    assert result.status == 0, result.err
    assert cloud.machines == {}
    assert cloud.variants == {}
    remaining_alarms = wire.call("cloudwatch", "describe_alarms")["MetricAlarms"]
    targets = wire.call(
        "application-autoscaling",
        "describe_scalable_targets",
        ServiceNamespace="sagemaker",
    )["ScalableTargets"]
    objects = wire.call("s3", "list_objects_v2", Bucket="exchange")["Contents"]
    assert remaining_alarms == targets == []
    assert [item["Key"] for item in objects] == ["other"]


def test_scaling_alarms_do_not_roll_back_update(deployed, chandra, cloud, project):
    project(QUEUE_CONFIG + "timeout_seconds = 900\n")

    result = chandra("async", "deploy", "--dry-run", "--json")

    update = next(
        a for a in result.json["actions"] if a.get("operation") == "update_endpoint"
    )
    assert "AutoRollbackConfiguration" not in update["params"]["DeploymentConfig"]
    assert update["params"]["RetainAllVariantProperties"] is True


@pytest.mark.usefixtures("staged")
def test_deploy_without_wait_reports_missing_scaling(chandra, project, cloud):
    project(QUEUE_CONFIG)

    result = chandra("async", "deploy", "--no-wait")
    second_result = chandra("async", "deploy")

    assert "without scaling" in result.out
    assert second_result.status == 0, second_result.err
    assert "application-autoscaling:PutScalingPolicy" in cloud.changes


def test_instance_count_is_refused(chandra, project):
    project(QUEUE_CONFIG)

    result = chandra("async", "deploy", "--instance-count", "2")

    assert result.status == 2
    assert "min_instances and max_instances" in result.err


@pytest.mark.usefixtures("staged")
def test_quota_below_max_instances_is_reported(chandra, project, cloud):
    project(QUEUE_CONFIG)
    cloud.limits = {"ml.g6e.2xlarge": 1}

    result = chandra("async", "deploy")

    assert result.status == 0, result.err
    assert "may run 1 ml.g6e.2xlarge for endpoints; 2 are requested" in result.out
    assert "(asynchronous.max_instances)" in result.out


def test_stop_and_start_include_scaling(deployed, chandra, cloud):
    config = cloud.machines["ocr-async"].config

    stop_result = chandra("stop", "--async")
    status = chandra("status")
    machines_when_stopped = dict(cloud.machines)
    status_when_stopped = chandra("status", "--json").json["asynchronous"]
    start_result = chandra("start", "--async")
    status_after_start = chandra("status", "--json").json["asynchronous"]

    assert stop_result.status == start_result.status == 0, (
        stop_result.err + start_result.err
    )
    assert "its machines cost $2.80 an hour by now" in stop_result.out
    assert machines_when_stopped == {}
    assert "start --async brings it back" in status.out
    assert status_when_stopped == {
        "endpoint": "ocr-async",
        "status": None,
        "health": "stopped",
        "lost": False,
        "config": config,
    }
    assert cloud.machines["ocr-async"].config == config
    assert (
        status_after_start["min_instances"],
        status_after_start["max_instances"],
    ) == (0, 2)
    assert set(status_after_start["alarms"]) == {"wake", "idle"}


def test_stop_affects_only_one_endpoint(deployed, chandra, cloud):
    result = chandra("stop")

    assert "endpoint ocr is not running\n" in result.out
    assert "note: endpoint ocr-async has 1 machines, $2.80 an hour" in result.out
    assert "stop --async" not in result.out
    assert set(cloud.machines) == {"ocr-async"}


def test_stop_of_an_absent_queue_does_not_deny_other_costs(chandra, project):
    project(QUEUE_CONFIG)
    chandra("deploy")

    result = chandra("stop", "--async")

    assert result.status == 0
    assert result.out == "endpoint ocr-async is not running\n"


def test_foreign_queue_is_not_stopped(chandra, project, wire, staged, cloud):
    project(QUEUE_CONFIG)
    chandra("deploy")
    wire.call(
        "sagemaker",
        "create_endpoint",
        EndpointName="ocr-async",
        EndpointConfigName=cloud.machines["ocr"].config,
    )

    result = chandra("stop", "--async")

    assert result.status == 5
    assert set(cloud.machines) == {"ocr", "ocr-async"}


def test_next_start_adds_missing_scaling(deployed, chandra):
    chandra("stop", "--async")

    quick = chandra("start", "--async", "--no-wait")
    chandra("start", "--async")

    assert "next: the same command without --no-wait sets its scaling" in quick.out
    assert chandra("status", "--json").json["asynchronous"]["max_instances"] == 2


def test_long_queue_does_not_roll_back_update(deployed, chandra, project, cloud):
    first = chandra("async", "deploy", "--image", OTHER_IMAGE, "--dry-run")
    chandra("alarms", "--async", "--create")
    update = chandra("async", "deploy", "--image", OTHER_IMAGE, "--dry-run")

    assert "chandra-sagemaker alarms --async --create" in first.out
    # Of errors and of the disk.
    assert "watching 2 alarms" in update.out


def test_rollback_restores_previous_config(deployed, chandra, cloud, at):
    first_config = cloud.machines["ocr-async"].config
    at.now += 60
    chandra("async", "deploy", "--image", OTHER_IMAGE)
    second_config = cloud.machines["ocr-async"].config
    at.now += 60

    dry_result = chandra("rollback", "--async", "--dry-run")
    back_result = chandra("rollback", "--async")
    config_after_rollback = cloud.machines["ocr-async"].config
    forth_result = chandra("rollback", "--async", "--to", second_config)

    assert second_config != first_config
    assert f"to {first_config}" in dry_result.out
    assert back_result.status == forth_result.status == 0, (
        back_result.err + forth_result.err
    )
    assert config_after_rollback == first_config
    assert "the next async deploy changes nothing" in back_result.out
    assert cloud.machines["ocr-async"].config == second_config
    assert chandra("rollback").status == 4


def test_recreated_endpoint_keeps_scaling(deployed, chandra, cloud, at, project, wire):
    first_config = cloud.machines["ocr-async"].config
    project(QUEUE_CONFIG + '[update]\nstrategy = "recreate"\n')
    at.now += 60
    chandra("async", "deploy", "--image", OTHER_IMAGE)
    at.now += 60
    # As it may go with the endpoint, on AWS.
    wire.call(
        "application-autoscaling",
        "deregister_scalable_target",
        **scalable_target("ocr-async"),
    )

    rollback = chandra("rollback", "--async")

    assert rollback.status == 0, rollback.err
    queue = chandra("status", "--json").json["asynchronous"]
    assert (queue["config"], queue["max_instances"]) == (first_config, 2)
    assert set(queue["alarms"]) == {"wake", "idle"}


def test_rollback_lists_configs_of_queue(deployed, chandra, cloud):
    assert cloud.machines["ocr-async"].config in chandra("list").out
