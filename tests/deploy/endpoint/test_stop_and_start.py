"""Commands `stop`, `start`, `status` and `list`."""

from __future__ import annotations

import pytest

from tests.deploy.accounts import OTHER_IMAGE

pytestmark = pytest.mark.usefixtures("staged")


def test_deploy_without_waiting_is_live_later(chandra, cloud, project):
    chandra("deploy")
    first = cloud.machines["ocr"].config
    chandra("update", "--image", OTHER_IMAGE, "--no-wait")
    while cloud.machines["ocr"].status != "InService":
        chandra("status")
    second = cloud.machines["ocr"].config

    chandra("stop")
    chandra("start")

    assert second != first
    assert cloud.machines["ocr"].config == second


def test_config_never_live_is_no_rollback_target(chandra, cloud, project, at):
    chandra("deploy")
    first = cloud.machines["ocr"].config
    at.now += 60
    config = chandra("update", "--image", OTHER_IMAGE, "--dry-run", "--json").json[
        "config"
    ]
    cloud.failing = {config: "CloudWatch alarm ocr-errors fired"}

    chandra("update", "--image", OTHER_IMAGE, "--no-wait")
    while cloud.machines["ocr"].status != "InService":
        chandra("status")

    assert cloud.machines["ocr"].config == first
    assert chandra("rollback").status == 4


def test_start_restores_the_stopped_endpoint(chandra, cloud, at):
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


def test_status_reports_that_a_stopped_endpoint_costs_nothing(chandra):
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


def test_list_shows_only_our_endpoints(chandra, wire, cloud):
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
