"""The command `deploy` against moto, and its failures."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.console import Console
from deploy.errors import ConfigError
from tests.deploy.accounts import OTHER_IMAGE

ROOT = Path(__file__).resolve().parents[3]


pytestmark = pytest.mark.usefixtures("staged")


def test_first_deploy_creates_the_endpoint(chandra, cloud):
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


def test_second_deploy_changes_nothing(chandra, cloud):
    chandra("deploy")
    cloud.calls.clear()

    ran = chandra("deploy")

    assert ran.status == 0
    assert "no changes" in ran.out
    assert cloud.changes == []


def test_dry_run_prints_the_plan_and_changes_nothing(chandra, cloud):
    ran = chandra("deploy", "--dry-run")

    assert ran.status == 0
    assert "would create model ocr-" in ran.out
    assert "would wait until endpoint ocr is in service" in ran.out
    assert cloud.changes == []


def test_another_image_updates_the_endpoint(chandra, cloud, project):
    chandra("deploy")
    before = cloud.machines["ocr"].config
    project(image=OTHER_IMAGE)

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert cloud.machines["ocr"].config != before
    assert "sagemaker:UpdateEndpoint" in cloud.changes


def test_rolled_back_update_is_an_error(chandra, cloud, project):
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


def deploy_failing(chandra, cloud, reason):
    planned = chandra("plan", "--json").json
    (config,) = (
        action["params"]["EndpointConfigName"]
        for action in planned["actions"]
        if action.get("operation") == "create_endpoint_config"
    )
    cloud.failing = {config: reason}
    return chandra("deploy")


def test_failure_prints_reason_log_and_hint(chandra, cloud, wire, at):
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

    ran = deploy_failing(
        chandra, cloud, "The container did not pass the ping health check"
    )

    assert ran.status == 6
    assert "endpoint ocr is Failed: The container did not pass" in ran.err
    assert "startup_timeout_seconds" in ran.err
    assert ran.out.count("CUDA out of memory") == 2


def test_deploy_after_a_failure_starts_over(chandra, cloud):
    deploy_failing(chandra, cloud, "InsufficientCapacityError")
    cloud.failing = {}

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert cloud.machines["ocr"].status == "InService"


def test_quota_of_zero_stops_before_any_change(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 0}

    ran = chandra("deploy")

    assert ran.status == 2
    assert "may run 0 ml.g6e.2xlarge" in ran.err
    assert "request-service-quota-increase" in ran.err
    assert cloud.changes == []


def test_timeout_leaves_the_endpoint_changing(chandra, cloud):
    cloud.num_descriptions = 1000

    ran = chandra("deploy", "--timeout", "120")

    assert ran.status == 7
    assert "not in service after 2 min" in ran.err
    assert cloud.machines["ocr"].status == "Creating"

    cloud.num_descriptions = 2
    again = chandra("deploy")

    assert again.status == 0, again.err
    assert cloud.changes.count("sagemaker:CreateEndpoint") == 1


def test_deploy_without_waiting_returns_at_once(chandra, cloud):
    ran = chandra("deploy", "--no-wait")

    assert ran.status == 0
    assert "is being created or updated" in ran.out
    assert cloud.machines["ocr"].status == "Creating"


def test_ctrl_c_reports_what_exists(chandra, cloud):
    def interrupt(seconds):
        raise KeyboardInterrupt

    ran = chandra("deploy", sleep=interrupt)

    assert ran.status == 130
    assert "create endpoint ocr" in ran.err
    assert "endpoint ocr continues" in ran.err
    assert cloud.machines["ocr"].status == "Creating"


def test_without_stdin_no_question_is_asked(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    console = Console(err=io.StringIO())

    assert console.agree("go on?") is True
    with pytest.raises(ConfigError, match="not a terminal: go on"):
        console.confirm("go on?")


def test_program_deploys_in_its_own_process(front, cloud, project, tmp_path):
    """The command runs in its own process, with credentials from the environment."""
    cloud.num_descriptions = 0
    command = [sys.executable, "-m", "deploy", "deploy", "--endpoint-url", front[0]]

    completed = subprocess.run(
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

    assert completed.returncode == 0, completed.stderr
    assert json.loads(completed.stdout)["endpoint"] == "ocr"
    assert "create endpoint ocr" in completed.stderr
    assert "hidden" not in completed.stdout + completed.stderr
    assert cloud.machines["ocr"].status == "InService"
