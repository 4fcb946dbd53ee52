"""Whole commands against an AWS of ours, over the wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.accounts import OTHER_IMAGE

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("staged")


def configs(shim):
    return sorted(shim.variants)


def test_from_nothing_to_an_endpoint(chandra, cloud):
    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert "endpoint ocr is in service" in ran.out
    assert "Creating (Creating)" in ran.out
    assert cloud.machines["ocr"].status == "InService"
    assert cloud.changes == [
        "sagemaker:CreateModel",
        "sagemaker:CreateEndpointConfig",
        "sagemaker:CreateEndpoint",
        "sagemaker:AddTags",
    ]


def test_deployed_twice_nothing_changes(chandra, cloud):
    chandra("deploy")
    cloud.calls.clear()

    ran = chandra("deploy")

    assert ran.status == 0
    assert "no changes" in ran.out
    assert cloud.changes == []


def test_a_dry_run_says_what_it_would_do_and_does_nothing(chandra, cloud):
    ran = chandra("deploy", "--dry-run")

    assert ran.status == 0
    assert "would create model ocr-" in ran.out
    assert "would wait until endpoint ocr is in service" in ran.out
    assert cloud.changes == []


def test_another_image_moves_the_endpoint(chandra, cloud, project):
    chandra("deploy")
    before = cloud.machines["ocr"].config
    project(image=OTHER_IMAGE)

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert cloud.machines["ocr"].config != before
    assert "sagemaker:UpdateEndpoint" in cloud.changes


def test_an_update_that_is_rolled_back_is_no_success(chandra, cloud, project):
    chandra("deploy")
    before = cloud.machines["ocr"].config
    project(image=OTHER_IMAGE)
    planned = chandra("plan", "--json").json
    cloud.failing = {
        action["params"]["EndpointConfigName"]: "CloudWatch alarm ocr-errors fired"
        for action in planned["actions"]
        if action.get("operation") == "create_endpoint_config"
    }

    ran = chandra("deploy")

    assert ran.status == 6
    assert "was rolled back" in ran.err
    assert "CloudWatch alarm ocr-errors fired" in ran.err
    assert "chandra-sagemaker alarms" in ran.err
    assert cloud.machines["ocr"].config == before


def fail(chandra, cloud, reason):
    planned = chandra("plan", "--json").json
    (config,) = (
        action["params"]["EndpointConfigName"]
        for action in planned["actions"]
        if action.get("operation") == "create_endpoint_config"
    )
    cloud.failing = {config: reason}
    return chandra("deploy")


def test_a_failure_ends_with_the_reason_the_log_and_a_hint(chandra, cloud, wire, at):
    group = "/aws/sagemaker/Endpoints/ocr"
    wire.call("logs", "create_log_group", logGroupName=group)
    wire.call(
        "logs", "create_log_stream", logGroupName=group, logStreamName="AllTraffic/i-1"
    )
    wire.call(
        "logs",
        "put_log_events",
        logGroupName=group,
        logStreamName="AllTraffic/i-1",
        logEvents=[{"timestamp": int(at.now * 1000), "message": "CUDA out of memory"}],
    )

    ran = fail(chandra, cloud, "The container did not pass the ping health check")

    assert ran.status == 6
    assert "endpoint ocr is Failed: The container did not pass" in ran.err
    assert "startup_timeout_seconds" in ran.err
    assert ran.out.count("CUDA out of memory") == 2


def test_after_a_failure_deploying_again_starts_over(chandra, cloud):
    fail(chandra, cloud, "InsufficientCapacityError")
    cloud.failing = {}

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert cloud.machines["ocr"].status == "InService"


def test_a_quota_of_zero_is_refused_before_the_first_call(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 0}

    ran = chandra("deploy")

    assert ran.status == 2
    assert "may run 0 ml.g6e.2xlarge" in ran.err
    assert "request-service-quota-increase" in ran.err
    assert cloud.changes == []


def test_waiting_ends_and_the_endpoint_goes_on(chandra, cloud):
    cloud.num_questions = 1000

    ran = chandra("deploy", "--timeout", "120")

    assert ran.status == 7
    assert "not in service after 2 min" in ran.err
    assert cloud.machines["ocr"].status == "Creating"

    cloud.num_questions = 2
    again = chandra("deploy")

    assert again.status == 0, again.err
    assert cloud.changes.count("sagemaker:CreateEndpoint") == 1


def test_without_waiting_it_returns_at_once(chandra, cloud):
    ran = chandra("deploy", "--no-wait")

    assert ran.status == 0
    assert "is on its way" in ran.out
    assert cloud.machines["ocr"].status == "Creating"


def test_what_nobody_waited_for_is_live_once_it_is(chandra, cloud, project):
    chandra("deploy")
    first = cloud.machines["ocr"].config
    project(image=OTHER_IMAGE)
    chandra("update", "--no-wait")
    while cloud.machines["ocr"].status != "InService":
        chandra("status")
    second = cloud.machines["ocr"].config

    chandra("stop")
    chandra("start")

    assert second != first
    assert cloud.machines["ocr"].config == second


def test_what_never_went_live_is_not_gone_back_to(chandra, cloud, project, at):
    chandra("deploy")
    first = cloud.machines["ocr"].config
    at.now += 60
    project(image=OTHER_IMAGE)
    config = chandra("update", "--dry-run", "--json").json["config"]
    cloud.failing = {config: "CloudWatch alarm ocr-errors fired"}

    chandra("update", "--no-wait")
    while cloud.machines["ocr"].status != "InService":
        chandra("status")

    assert cloud.machines["ocr"].config == first
    assert chandra("rollback").status == 4


def test_stopped_and_started_it_is_the_same_again(chandra, cloud, at):
    chandra("deploy")
    config = cloud.machines["ocr"].config
    at.now += 10 * 3600

    stopped = chandra("stop")
    gone = dict(cloud.machines)
    started = chandra("start")

    assert stopped.status == 0, stopped.err
    assert "it cost about $28." in stopped.out
    assert "stopping saves $2.80 an hour, $67.20 a day" in stopped.out
    assert gone == {}
    assert started.status == 0, started.err
    assert cloud.machines["ocr"].config == config


def test_a_stopped_endpoint_costs_nothing_and_says_so(chandra):
    chandra("deploy")
    chandra("stop")

    ran = chandra("status")

    assert ran.status == 0
    assert "is stopped and costs nothing" in ran.out


def test_status_shows_what_runs_and_what_it_cost(chandra, at):
    chandra("deploy")
    at.now += 3600

    facts = chandra("status", "--json").json
    lines = chandra("status").out

    assert facts["status"] == "InService"
    assert facts["health"] == "serving"
    assert facts["model_revision"] == "0123abc"
    assert facts["instance_type"] == "ml.g6e.2xlarge"
    assert facts["price_an_hour"] == 2.80
    assert 2.80 <= facts["cost_so_far"] < 2.90
    assert "instances       1 of 1 x ml.g6e.2xlarge\n" in lines
    assert "price an hour   $2.80\n" in lines
    assert "cost so far     about $2.8" in lines


def test_list_shows_our_endpoints_and_no_others(chandra, wire, cloud):
    chandra("deploy")
    wire.call(
        "sagemaker",
        "create_endpoint",
        EndpointName="theirs",
        EndpointConfigName=cloud.machines["ocr"].config,
    )

    ran = chandra("list")

    assert "ocr       InService  ocr" in ran.out
    assert "theirs" not in ran.out
    assert cloud.machines["ocr"].config in ran.out


def test_destroy_leaves_what_is_not_ours(chandra, wire, cloud):
    chandra("deploy")
    wire.call(
        "sagemaker",
        "create_model",
        ModelName="ocr-theirs",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/theirs",
        EnableNetworkIsolation=False,
        PrimaryContainer={"Image": "theirs"},
    )

    ran = chandra("destroy")

    assert ran.status == 0, ran.err
    assert "deployment ocr is gone" in ran.out
    assert cloud.machines == {}
    assert configs(cloud) == []
    left = wire.call("sagemaker", "list_models")["Models"]
    assert [model["ModelName"] for model in left] == ["ocr-theirs"]


def test_destroying_twice_finds_nothing(chandra):
    chandra("deploy")
    chandra("destroy")

    ran = chandra("destroy")

    assert ran.status == 0
    assert "nothing carries the tag" in ran.out


@pytest.mark.parametrize("command", ["stop", "destroy"])
def test_nothing_is_deleted_without_a_yes(chandra, cloud, command):
    chandra("deploy")

    ran = chandra(command, yes=False)

    assert ran.status == 2
    assert "add --yes" in ran.err
    assert cloud.machines["ocr"].status == "InService"


def test_ctrl_c_says_what_exists(chandra, cloud):
    def interrupt(seconds):
        raise KeyboardInterrupt

    ran = chandra("deploy", sleep=interrupt)

    assert ran.status == 130
    assert "create endpoint ocr" in ran.err
    assert "endpoint ocr goes on without us" in ran.err
    assert cloud.machines["ocr"].status == "Creating"


UPDATE_CALLS = 4
DESTROY_CALLS = 3


@pytest.mark.parametrize("number", range(1, UPDATE_CALLS + 1))
def test_after_a_crash_at_any_call_of_an_update_deploying_ends_well(
    chandra, cloud, project, number
):
    chandra("deploy")
    before = cloud.machines["ocr"].config
    project(image=OTHER_IMAGE)
    cloud.calls.clear()
    cloud.crash_after = number

    crashed = chandra("deploy")
    cloud.crash_after = None
    again = chandra("deploy")

    assert crashed.status == 1, crashed.err
    assert again.status == 0, again.err
    assert cloud.machines["ocr"].status == "InService"
    assert cloud.machines["ocr"].config != before


def test_no_call_of_an_update_is_left_out_of_the_crashes(chandra, cloud, project):
    chandra("deploy")
    project(image=OTHER_IMAGE)
    cloud.calls.clear()

    chandra("deploy")

    assert len(cloud.changes) == UPDATE_CALLS


@pytest.mark.parametrize("number", range(1, DESTROY_CALLS + 1))
def test_after_a_crash_destroying_again_leaves_nothing(chandra, cloud, number):
    chandra("deploy")
    cloud.calls.clear()
    cloud.crash_after = number

    crashed = chandra("destroy")
    cloud.crash_after = None
    again = chandra("destroy")

    assert crashed.status == 1, crashed.err
    assert again.status == 0, again.err
    assert cloud.machines == {}
    assert configs(cloud) == []
    assert "nothing carries" in chandra("destroy").out


def test_a_plan_shows_what_is_live_beside_what_is_wanted(chandra, cloud, project):
    chandra("deploy")
    project("[endpoint]\ninstance_count = 2\n")

    ran = chandra("plan")

    assert ran.status == 0, ran.err
    assert '-  "InitialInstanceCount": 1' in ran.out.replace("- ", "-", 1)
    assert '"InitialInstanceCount": 2' in ran.out
    assert "2 x ml.g6e.2xlarge: $5.60 an hour" in ran.out
    assert "offline" not in ran.out


def test_a_plan_of_what_is_live_already_has_no_changes(chandra):
    chandra("deploy")

    assert "no changes" in chandra("plan").out


def test_a_plan_says_that_the_quota_is_zero(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 0}

    ran = chandra("plan")

    assert ran.status == 1
    assert "refused: this account may run 0 ml.g6e.2xlarge" in ran.out


def test_somebody_elses_endpoint_is_neither_updated_nor_deleted(chandra, wire, cloud):
    chandra("deploy")
    theirs = cloud.machines["ocr"].config
    chandra("stop")
    wire.call(
        "sagemaker", "create_endpoint", EndpointName="ocr", EndpointConfigName=theirs
    )

    commands = ("deploy", "update", "stop", "start", "destroy")
    refused = [chandra(command).status for command in commands]

    assert refused == [5] * len(commands)
    assert cloud.machines["ocr"].config == theirs
    assert theirs in configs(cloud)


def test_a_config_that_another_endpoint_uses_is_not_destroyed(chandra, wire, cloud):
    chandra("deploy")
    config = cloud.machines["ocr"].config
    wire.call(
        "sagemaker", "create_endpoint", EndpointName="other", EndpointConfigName=config
    )

    ran = chandra("destroy")

    assert ran.status == 5
    assert "endpoint other, which is not of deployment ocr, uses" in ran.err
    assert config in ran.err
    assert cloud.machines["ocr"].status == "InService"


def test_the_program_itself_deploys(front, cloud, project, tmp_path):
    """Another process, with credentials from its environment and no fake in it."""
    cloud.num_questions = 0
    command = [sys.executable, "-m", "deploy", "deploy", "--endpoint-url", front[0]]

    done = subprocess.run(
        [*command, "--json", "--config", str(tmp_path / "chandra.toml")],
        env={
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "hidden",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["endpoint"] == "ocr"
    assert "create endpoint ocr" in done.stderr
    assert "hidden" not in done.stdout + done.stderr
    assert cloud.machines["ocr"].status == "InService"


NUM_CALLS = 4


@pytest.mark.parametrize("number", range(1, NUM_CALLS + 1))
@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
def test_after_a_crash_at_any_call_deploying_again_ends_well(
    chandra, cloud, number, moment
):
    setattr(cloud, moment, number)
    crashed = chandra("deploy")
    setattr(cloud, moment, None)

    again = chandra("deploy")
    cloud.calls.clear()
    twice = chandra("deploy")

    assert crashed.status == 1, crashed.err
    assert "the line went dead" in crashed.err
    assert again.status == 0, again.err
    assert cloud.machines["ocr"].status == "InService"
    assert len(configs(cloud)) == 1
    assert twice.status == 0
    assert cloud.changes == []


def test_no_call_of_a_deployment_is_left_out_of_the_crashes(chandra, cloud):
    chandra("deploy")

    assert len(cloud.changes) == NUM_CALLS
