"""Plans of deployments, without AWS."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.config import UpdateStrategy, UpdateTable
from deploy.endpoint.observer import EmptyAccount
from deploy.endpoint.planner import Planner, previous_config
from deploy.endpoint.schedule import schedule_from
from deploy.errors import ConflictError, NotFoundError
from deploy.plan.actions import Call, Goal, Wait
from deploy.resources import EndpointState, endpoint_from
from tests.deploy.accounts import IDENTITY, NOW, FakeAccount, configured

TARGET = endpoint_from(configured(), IDENTITY)
CONFIG = TARGET.config.name
SERVING = EndpointState("ocr", "InService", CONFIG, is_ours=True)
BLUE_GREEN = UpdateTable()
RECREATE = UpdateTable(strategy=UpdateStrategy.RECREATE)


def account(state: EndpointState | None = SERVING, **kwargs) -> FakeAccount:
    """Return an account with the wanted model and config, and the given endpoint."""
    endpoints = {} if state is None else {"ocr": state}
    return FakeAccount(
        {TARGET.model.name}, {CONFIG}, endpoints, **{"live": [CONFIG], **kwargs}
    )


def plan(observer, update=BLUE_GREEN, target=TARGET):
    return Planner(observer, IDENTITY, NOW).deploy(target, update)


def steps(actions):
    return [
        a.operation if isinstance(a, Call) else f"until {a.goal.value}" for a in actions
    ]


def test_first_plan_creates_everything_in_order():
    assert steps(plan(EmptyAccount())) == [
        "create_model",
        "create_endpoint_config",
        "create_endpoint",
        "until in service",
        "add_tags",
    ]


def test_plan_of_endpoint_as_described_is_empty():
    assert plan(account()) == []


def test_changed_config_updates_the_endpoint():
    actions = plan(
        FakeAccount(
            {TARGET.model.name},
            endpoints={"ocr": replace(SERVING, config="ocr-old")},
            live=["ocr-old"],
        )
    )

    assert steps(actions) == [
        "create_endpoint_config",
        "update_endpoint",
        "until in service",
        "add_tags",
    ]
    assert actions[2] == Wait("ocr", Goal.IN_SERVICE, CONFIG)


def test_recreate_deletes_the_old_endpoint_first():
    actions = plan(
        account(replace(SERVING, config="ocr-old"), live=["ocr-old"]),
        RECREATE,
    )

    assert steps(actions) == [
        "delete_endpoint",
        "until deleted",
        "create_endpoint",
        "until in service",
        "add_tags",
    ]


@pytest.mark.parametrize("status", ["Failed", "OutOfService"])
def test_failed_endpoint_is_deleted_and_recreated(status):
    actions = plan(account(replace(SERVING, status=status)))

    assert steps(actions) == [
        "delete_endpoint",
        "until deleted",
        "create_endpoint",
        "until in service",
    ]


def test_update_to_the_target_config_is_waited_for():
    creating = replace(SERVING, status="Creating")
    updating = replace(
        SERVING, status="Updating", config="ocr-old", pending_config=CONFIG
    )

    assert steps(plan(account(creating))) == ["until in service"]
    assert steps(plan(account(updating))) == ["until in service"]


def test_update_to_another_config_is_waited_for_first():
    leaving = replace(SERVING, status="Updating", pending_config="ocr-other")
    between_others = replace(leaving, config="ocr-old")

    for state in (leaving, between_others):
        assert steps(plan(account(state))) == [
            "until no longer changing",
            "update_endpoint",
            "until in service",
        ]


def test_rollback_to_the_target_config_is_waited_for():
    state = replace(SERVING, status="RollingBack", pending_config="ocr-other")

    assert steps(plan(account(state))) == ["until in service"]


def test_rollback_from_the_target_config_is_updated():
    state = replace(
        SERVING, status="RollingBack", config="ocr-old", pending_config=CONFIG
    )

    assert steps(plan(account(state))) == [
        "until no longer changing",
        "update_endpoint",
        "until in service",
    ]


def test_endpoint_in_deletion_is_recreated_afterwards():
    assert steps(plan(account(replace(SERVING, status="Deleting")))) == [
        "until deleted",
        "create_endpoint",
        "until in service",
    ]


@pytest.mark.parametrize("config", ["ocr-old", CONFIG])
def test_failed_rollback_is_changed_by_recreate_only(config):
    state = replace(SERVING, status="UpdateRollbackFailed", config=config)

    with pytest.raises(ConflictError, match="mix of two configs") as caught:
        plan(account(state))

    assert "chandra-sagemaker status" in (caught.value.hint or "")
    assert "recreate" not in (caught.value.hint or "")
    assert steps(plan(account(state), RECREATE))[0] == ("delete_endpoint")


def test_foreign_endpoint_of_the_same_name_stays():
    observer = account(replace(SERVING, is_ours=False, config="theirs"))

    with pytest.raises(ConflictError, match="not this deployment's"):
        plan(observer)
    with pytest.raises(ConflictError, match="not this deployment's"):
        Planner(observer, IDENTITY, NOW).stop("ocr")


def update_call(**kwargs):
    state = replace(SERVING, config="ocr-old", **kwargs.pop("state", {}))
    actions = plan(account(state, **kwargs), UpdateTable(bake_seconds=300))
    return next(
        a for a in actions if isinstance(a, Call) and a.operation == "update_endpoint"
    )


def test_old_machines_stay_for_the_bake_time():
    policy = update_call().params["DeploymentConfig"]["BlueGreenUpdatePolicy"]

    assert policy["TerminationWaitInSeconds"] == 300
    assert policy["TrafficRoutingConfiguration"]["Type"] == "ALL_AT_ONCE"


def test_update_is_rolled_back_by_existing_alarms():
    watched = update_call(alarms=["ocr-errors"]).params["DeploymentConfig"]
    unwatched = update_call().params["DeploymentConfig"]

    assert watched["AutoRollbackConfiguration"] == {
        "Alarms": [{"AlarmName": "ocr-errors"}]
    }
    assert "AutoRollbackConfiguration" not in unwatched


def test_only_scaled_endpoints_retain_their_count():
    assert "RetainAllVariantProperties" not in update_call().params
    scaled = update_call(state={"is_scaled": True}).params
    assert scaled["RetainAllVariantProperties"] is True


def test_serving_config_without_a_live_tag_is_tagged():
    assert steps(plan(account(live=[]))) == ["add_tags"]


def test_schedule_starts_the_last_deployed_config():
    schedule = schedule_from("08:00", "19:00", "mon-fri", "Europe/Berlin")
    calls = schedule.calls(
        "ocr",
        "ocr-old",
        tags={},
        role="arn:aws:iam::123456789012:role/ocr-scheduler",
        partition="aws",
        existing=frozenset(),
    )
    entry = next(c.params for c in calls if c.params["Name"] == "ocr-start")

    actions = plan(account(start_entry=dict(entry)))

    assert steps(actions) == ["update_schedule"]
    assert isinstance(actions[0], Call)
    assert CONFIG in actions[0].params["Target"]["Input"]
    assert plan(account(start_entry=dict(actions[0].params))) == []


def test_stop_tags_the_config_and_deletes_the_endpoint():
    planner = Planner(account(), IDENTITY, NOW)

    assert steps(planner.stop("ocr")) == [
        "add_tags",
        "delete_endpoint",
        "until deleted",
    ]


def test_stop_without_an_endpoint_does_nothing():
    assert Planner(EmptyAccount(), IDENTITY, NOW).stop("ocr") == []


def test_stop_waits_for_an_endpoint_that_changes():
    creating = account(replace(SERVING, status="Creating"))

    assert steps(Planner(creating, IDENTITY, NOW).stop("ocr")) == [
        "until no longer changing",
        "add_tags",
        "delete_endpoint",
        "until deleted",
    ]


def test_previous_config_was_live_before():
    history = FakeAccount(live=["ocr-3", "ocr-2", "ocr-1"]).history("ocr")

    assert previous_config(history, "ocr-3") == "ocr-2"
    assert previous_config(history, None) == "ocr-3"


def test_config_that_was_never_live_is_no_rollback_target():
    never = [
        replace(live, since=None) for live in FakeAccount(live=["a", "b"]).history("")
    ]

    with pytest.raises(NotFoundError, match="nothing to go back to"):
        previous_config(never, "a")
