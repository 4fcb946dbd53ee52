"""Numbers of instances that another program has changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.resources import EndpointState, describe_count_drift
from tests.deploy.accounts import OTHER_IMAGE

# Each test makes about a hundred calls over HTTP.
pytestmark = pytest.mark.slow

SERVING = EndpointState("ocr", "InService", "ocr-1", is_ours=True, desired_count=2)
QUEUE = '[asynchronous]\nbucket = "exchange"\n'


@pytest.fixture
def deployed(staged, chandra):
    assert chandra("deploy").status == 0


def resize_by_hand(wire, cloud, chandra, count, name="ocr"):
    """Change the number of instances without the commands of this project."""
    wire.call(
        "sagemaker",
        "update_endpoint_weights_and_capacities",
        EndpointName=name,
        DesiredWeightsAndCapacities=[
            {"VariantName": "AllTraffic", "DesiredInstanceCount": count}
        ],
    )
    while cloud.machines[name].status != "InService":
        chandra("status")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (SERVING, "it has 2 instances, and config ocr-1 has 1"),
        (replace(SERVING, desired_count=1), None),
        (replace(SERVING, desired_count=None, instance_count=3), "it has 3 instances"),
        (replace(SERVING, desired_count=None), None),
        (replace(SERVING, status="Updating"), None),
        (replace(SERVING, is_scaled=True, scaling_limits=(0, 2)), None),
        (replace(SERVING, is_scaled=True, scaling_limits=(2, 2)), None),
        (
            replace(SERVING, is_scaled=True, scaling_limits=(0, 1)),
            "it has 2 instances, and its scaling allows 0 to 1",
        ),
    ],
    ids=["more", "same", "current", "unknown", "changing", "within", "bound", "beyond"],
)
def test_count_outside_config_and_scaling_is_described(state, words):
    sentence = describe_count_drift(state, 1)

    assert (sentence or "").startswith(words or "")
    assert (sentence is None) == (words is None)


def test_status_reports_a_changed_number_of_machines(deployed, chandra, cloud, wire):
    before = chandra("status", "--json").json["drift"]
    resize_by_hand(wire, cloud, chandra, 3)

    ran = chandra("status")

    assert before is None
    assert "it has 3 instances, and config ocr-" in ran.out
    assert "chandra-sagemaker deploy sets them back" in ran.out


def test_deploy_resets_a_changed_number_of_machines(deployed, chandra, cloud, wire):
    resize_by_hand(wire, cloud, chandra, 3)

    planned = chandra("plan")
    ran = chandra("deploy")
    again = chandra("deploy")

    words = "set endpoint ocr to 1 instances: it has 3, which something else set"
    assert f"would {words}" in planned.out
    assert ran.status == 0, ran.err
    assert words in ran.out
    assert cloud.machines["ocr"].count == 1
    assert "no changes" in again.out


def test_price_before_is_zero_without_machines(deployed, chandra, cloud, wire):
    resize_by_hand(wire, cloud, chandra, 0)

    ran = chandra("deploy", "--dry-run", "--json")

    assert ran.json["price_an_hour"]["before"] == 0
    assert ran.json["price_an_hour"]["after"] > 0
    assert [each["setting"] for each in ran.json["reverts"]] == ["instance_count"]


def test_deploy_reports_removed_machines_once(deployed, chandra, cloud, wire, project):
    resize_by_hand(wire, cloud, chandra, 3)
    project(image=OTHER_IMAGE)

    ran = chandra("deploy", "--dry-run")

    assert ran.out.count("instance_count: 3 -> 1") == 1
    assert "it has 3 instances" not in ran.out


def test_count_set_by_scaling_stays(staged, chandra, cloud, wire, project):
    project(QUEUE)
    wire.call("s3", "create_bucket", Bucket="exchange")
    chandra("async", "deploy")
    resize_by_hand(wire, cloud, chandra, 2, "ocr-async")
    within = chandra("status", "--json").json["asynchronous"]["drift"]
    twice = chandra("async", "deploy")
    resize_by_hand(wire, cloud, chandra, 3, "ocr-async")
    beyond = chandra("status")

    assert within is None
    assert "no changes" in twice.out
    assert "it has 3 instances, and its scaling allows 0 to 2" in beyond.out


def test_denied_resize_fails_with_the_operation_name(deployed, chandra, cloud, wire):
    resize_by_hand(wire, cloud, chandra, 3)
    cloud.forbidden = {"sagemaker:UpdateEndpointWeightsAndCapacities"}

    ran = chandra("deploy")

    assert ran.status == 8
    assert "UpdateEndpointWeightsAndCapacities" in ran.err
    assert cloud.machines["ocr"].count == 3


def serve_variants(wire, cloud, ours, *others):
    """Give the endpoint a config of another program with several variants.

    They are `others` and then `ours`, each with these changes to the present variant.
    """
    config = cloud.machines["ocr"].config
    description = wire.call(
        "sagemaker", "describe_endpoint_config", EndpointConfigName=config
    )
    (variant,) = description["ProductionVariants"]
    wire.call(
        "sagemaker",
        "create_endpoint_config",
        EndpointConfigName="theirs",
        ProductionVariants=[
            *({**variant, **other} for other in others),
            variant | ours,
        ],
    )
    cloud.machines["ocr"].config = "theirs"


def test_count_is_that_of_the_main_variant(deployed, chandra, cloud, wire):
    canary = {
        "VariantName": "canary",
        "InitialInstanceCount": 5,
        "InstanceType": "ml.g5.2xlarge",
    }
    serve_variants(wire, cloud, {}, canary)

    status = chandra("status", "--json").json
    update = chandra("update", "--env", "A=1", "--json")

    assert (status["instance_count"], status["drift"]) == (1, None)
    assert status["instance_type"] == "ml.g6e.2xlarge"
    assert [each["setting"] for each in update.json["changes"]] == ["environment.A"]
    counts = {
        variant["VariantName"]: variant["InitialInstanceCount"]
        for variant in cloud.variants[cloud.machines["ocr"].config]
    }
    assert counts == {"canary": 5, "AllTraffic": 1}


def test_instances_of_a_variant_with_another_name_are_kept(
    deployed, chandra, cloud, wire
):
    serve_variants(wire, cloud, {"VariantName": "blue"})
    cloud.counts["ocr"] = 3

    ran = chandra("update", "--env", "A=1")

    (variant,) = cloud.variants[cloud.machines["ocr"].config]
    assert ran.status == 0, ran.err
    assert (variant["VariantName"], variant["InitialInstanceCount"]) == ("blue", 3)
