"""Validity of requests according to the service models of AWS.

botocore does not check enums, patterns and maxima. Without the check of `deploy`, AWS
would reject such values after the model has been created.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.config import UpdateTable
from deploy.endpoint.observer import EmptyAccount
from deploy.endpoint.planner import Planner
from deploy.endpoint.schedule import schedule_from
from deploy.plan.actions import Call
from deploy.resources import EndpointState, endpoint_from
from tests.deploy.accounts import IDENTITY, NOW, FakeAccount, configured


def calls(actions):
    return [action for action in actions if isinstance(action, Call)]


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"name": "a" * 54},
        {"endpoint": {"instance_types": ["ml.g6e.2xlarge", "ml.g5.2xlarge"]}},
        {"network": {"subnets": ["subnet-1"], "security_groups": ["sg-1"]}},
        {"network": {"kms_key": "alias/ocr"}, "capture": {"uri": "s3://kept/ocr"}},
        {"tags": {"team": "ocr", "cost centre": "4711"}},
    ],
)
def test_requests_of_a_first_deployment_are_valid(tables, refusals):
    target = endpoint_from(configured(**tables), IDENTITY)

    actions = Planner(EmptyAccount(), IDENTITY, NOW).deploy(target, UpdateTable())

    assert [refusals(call) for call in calls(actions)] == [[]] * 4


def test_requests_of_an_update_are_valid(refusals):
    target = endpoint_from(configured(), IDENTITY)
    state = EndpointState("ocr", "InService", "ocr-old", is_ours=True, is_scaled=True)
    observer = FakeAccount(endpoints={"ocr": state}, alarms=["ocr-errors"])

    actions = Planner(observer, IDENTITY, NOW).deploy(
        target, UpdateTable(bake_seconds=3600)
    )

    assert [r for call in calls(actions) for r in refusals(call)] == []


@pytest.mark.parametrize("existing", [[], ["ocr-start", "ocr-stop"]])
def test_requests_of_a_schedule_are_valid(existing, refusals):
    made = schedule_from("08:00", "19:30", "mon-fri", "Europe/Berlin").calls(
        "ocr",
        "ocr-12345678",
        tags={"team": "ocr"},
        role=IDENTITY.role_arn("ocr-scheduler"),
        partition="aws",
        existing=frozenset(existing),
    )

    assert [r for call in made for r in refusals(call)] == []


def test_violations_that_botocore_accepts_are_found(refusals):
    target = endpoint_from(configured(), IDENTITY)
    actions = Planner(EmptyAccount(), IDENTITY, NOW).deploy(target, UpdateTable())
    call = next(c for c in calls(actions) if c.operation == "create_endpoint_config")
    variant = call.params["ProductionVariants"][0] | {
        "InstanceType": "ml.g5.3xlarge",
        "ModelDataDownloadTimeoutInSeconds": 7200,
    }
    bad = replace(
        call,
        params={**call.params, "ProductionVariants": [variant]}
        | {"EndpointConfigName": "bad_name!"},
    )

    refused = " ".join(refusals(bad))

    assert "ml.g5.3xlarge is not a value that boto3 knows" in refused
    assert "7200 is above 3600" in refused
    assert "bad_name! does not match" in refused


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (
            "[endpoint]\ninstance_types = ['ml.g6.2xlrge']",
            "did you mean ml.g6.2xlarge?",
        ),
        ("[endpoint.environment]\na-b = 1", "Environment key a-b: a-b does not match"),
        (f"[tags]\nteam = '{'x' * 300}'", "Tags[0].Value: 300 is above 256"),
        ("[capture]\nuri = 's3://" + "b" * 600 + "'", "605 is above 512"),
    ],
)
@pytest.mark.parametrize("command", [["deploy"], ["deploy", "--dry-run"], ["plan"]])
@pytest.mark.usefixtures("staged")
def test_invalid_request_stops_before_the_first_call(
    chandra, cloud, project, tables, sentence, command
):
    """AWS would reject the config only after the model was created."""
    project(tables)

    ran = chandra(*command)

    assert ran.status == (1 if command == ["plan"] else 2)
    assert "AWS would refuse to create" in ran.out + ran.err
    assert sentence in ran.out + ran.err
    assert cloud.changes == []
