"""Command `destroy` deletes the resources of its deployment only."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("staged")


def test_destroy_keeps_resources_of_others(chandra, wire, cloud):
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
    assert sorted(cloud.variants) == []
    left = wire.call("sagemaker", "list_models")["Models"]
    assert [model["ModelName"] for model in left] == ["ocr-theirs"]


def test_destroying_twice_finds_nothing(chandra):
    chandra("deploy")
    chandra("destroy")

    ran = chandra("destroy")

    assert ran.status == 0
    assert "nothing carries the tag" in ran.out


@pytest.mark.parametrize("command", ["stop", "destroy"])
def test_stop_and_destroy_need_a_yes(chandra, cloud, command):
    chandra("deploy")

    ran = chandra(command, yes=False)

    assert ran.status == 2
    assert "add --yes" in ran.err
    assert cloud.machines["ocr"].status == "InService"


def test_endpoint_of_others_is_not_changed(chandra, wire, cloud):
    chandra("deploy")
    theirs = cloud.machines["ocr"].config
    chandra("stop")
    wire.call(
        "sagemaker", "create_endpoint", EndpointName="ocr", EndpointConfigName=theirs
    )

    commands = ("deploy", "update", "stop", "start", "destroy")
    statuses = [chandra(command).status for command in commands]

    assert statuses == [5] * len(commands)
    assert cloud.machines["ocr"].config == theirs
    assert theirs in sorted(cloud.variants)


def test_config_used_by_another_endpoint_stays(chandra, wire, cloud):
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
