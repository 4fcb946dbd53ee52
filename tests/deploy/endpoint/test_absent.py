"""Absent endpoints: stopped on purpose, stopped by the schedule, or lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from deploy.endpoint.schedule import DAYS, last_effect_time, schedule_from
from deploy.resources import LIVE_TAG, STOPPED_TAG, tags_from
from tests.deploy.accounts import OTHER_IMAGE

# Each test makes about a hundred calls over HTTP.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("staged")]

QUEUE = '[asynchronous]\nbucket = "exchange"\n'
HOUR = 3600


@pytest.fixture
def deployed(chandra):
    assert chandra("deploy").status == 0


def delete_by_hand(wire, cloud, chandra, name="ocr"):
    """Delete an endpoint without the commands of this project."""
    wire.call("sagemaker", "delete_endpoint", EndpointName=name)
    while name in cloud.machines:
        chandra("status")


def tags_of_config(wire, config):
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/{config}"
    return tags_from(wire.call("sagemaker", "list_tags", ResourceArn=arn)["Tags"])


def test_endpoint_deleted_by_others_is_missing(deployed, chandra, cloud, wire):
    config = cloud.machines["ocr"].config
    delete_by_hand(wire, cloud, chandra)

    ran, facts = chandra("status"), chandra("status", "--json")

    assert ran.status == facts.status == 6
    assert "endpoint ocr is missing: neither `stop` nor a schedule" in ran.out
    assert f"its last config is {config}" in ran.out
    assert "next: chandra-sagemaker start" in ran.out
    assert (facts.json["health"], facts.json["lost"]) == ("missing", True)


@pytest.mark.parametrize("command", ["start", "deploy"])
def test_missing_endpoint_is_reported_before_creation(
    deployed, chandra, cloud, wire, command
):
    delete_by_hand(wire, cloud, chandra)

    ran = chandra(command)

    assert ran.status == 0, ran.err
    assert "note: endpoint ocr is missing" in ran.out
    assert cloud.machines["ocr"].status == "InService"


def test_stopped_endpoint_starts_without_a_note(deployed, chandra):
    chandra("stop")

    ran = chandra("start")

    assert "is missing" not in ran.out


def test_loss_after_a_new_start_is_reported(deployed, chandra, cloud, wire):
    chandra("stop")
    chandra("start")
    delete_by_hand(wire, cloud, chandra)

    assert chandra("status").status == 6


def test_stop_without_waiting_counts_as_stopped(deployed, chandra, cloud):
    chandra("stop", "--no-wait")
    while "ocr" in cloud.machines:
        chandra("status")

    assert chandra("status").status == 0


def test_stopped_failed_endpoint_counts_as_stopped(chandra, cloud, project):
    chandra("deploy")
    chandra("stop")
    project(image=OTHER_IMAGE)
    config = chandra("deploy", "--dry-run", "--json").json["config"]
    cloud.failing = {config: "gremlins"}
    chandra("deploy")

    stopped = chandra("stop")

    assert stopped.status == 0, stopped.err
    assert chandra("status").status == 0


def test_stop_marks_a_missing_endpoint_as_stopped(deployed, chandra, cloud, wire):
    delete_by_hand(wire, cloud, chandra)

    dry_run = chandra("stop", "--dry-run")
    before = chandra("status").status
    ran = chandra("stop")

    assert "would note on config" in dry_run.out
    assert before == 6
    assert "endpoint ocr is missing" in ran.out
    assert "it counts as stopped from now on" in ran.out
    assert chandra("status").status == 0


def test_async_endpoint_deleted_by_others_is_missing(chandra, cloud, wire, project):
    project(QUEUE)
    wire.call("s3", "create_bucket", Bucket="exchange")
    chandra("async", "deploy")
    delete_by_hand(wire, cloud, chandra, "ocr-async")

    ran = chandra("status")

    assert ran.status == 6
    assert "missing, and `stop` did not stop it" in ran.out
    assert chandra("status", "--json").json["asynchronous"]["lost"] is True


def test_interrupted_deployment_was_never_in_service(chandra, cloud):
    cloud.crash_before = 3
    chandra("deploy")
    cloud.crash_before = None

    ran = chandra("status")

    assert ran.status == 6
    assert "is not known to have been in service" in ran.out
    assert "next: chandra-sagemaker deploy" in ran.out


# Rollback


@pytest.fixture
def two_configs(chandra, cloud, project, at):
    """Deploy two configs one after the other, and return both; the second serves."""
    chandra("deploy")
    first = cloud.machines["ocr"].config
    at.now += 60
    project(image=OTHER_IMAGE)
    chandra("deploy")
    at.now += 60
    return first, cloud.machines["ocr"].config


def test_stopped_endpoint_rolls_back_to_config_before(two_configs, chandra, cloud):
    first, second = two_configs
    chandra("stop")

    ran = chandra("rollback")

    assert ran.status == 0, ran.err
    assert "note: endpoint ocr is stopped and costs nothing" in ran.out
    assert f"its last config is {second}" in ran.out
    assert cloud.machines["ocr"].config == first


def test_missing_endpoint_rolls_back_to_config_before(
    two_configs, chandra, cloud, wire
):
    first, _ = two_configs
    delete_by_hand(wire, cloud, chandra)

    ran = chandra("rollback")

    assert ran.status == 0, ran.err
    assert "note: endpoint ocr is missing" in ran.out
    assert cloud.machines["ocr"].config == first


def test_rollback_starts_stopped_endpoint_after_a_yes(two_configs, chandra, cloud):
    first, second = two_configs
    chandra("stop")

    ran = chandra("rollback", yes=False)

    assert ran.status == 2
    assert f"start endpoint ocr with config {first}, in place of {second}?" in ran.err
    assert cloud.machines == {}


def test_rollback_starts_stopping_endpoint_after_a_yes(two_configs, chandra, cloud):
    chandra("stop", "--no-wait")

    ran = chandra("rollback", yes=False)

    assert ran.status == 2
    assert "start endpoint ocr with config" in ran.err


def test_stopped_endpoint_without_earlier_config_stays(deployed, chandra, cloud):
    chandra("stop")

    ran = chandra("rollback")

    assert ran.status == 4
    assert "chandra-sagemaker start" in ran.err
    assert cloud.machines == {}


@pytest.mark.parametrize("num_live", [1, 2])
def test_stop_does_not_change_the_rollback_target(
    chandra, cloud, project, at, num_live
):
    for number in range(num_live):
        project(f'[endpoint.environment]\nA = "{number}"\n')
        chandra("deploy")
        at.now += 60
    live = cloud.machines["ocr"].config
    project(image=OTHER_IMAGE)
    bad = chandra("deploy", "--dry-run", "--json").json["config"]
    cloud.failing = {bad: "gremlins"}
    chandra("stop")
    chandra("deploy")
    failed = (cloud.machines["ocr"].status, cloud.machines["ocr"].config)
    before = chandra("rollback", "--dry-run", "--json")

    chandra("stop")
    status = chandra("status")
    after = chandra("rollback", "--dry-run", "--json")
    done = chandra("rollback")

    assert failed == ("Failed", bad)
    assert before.json["config"] == live
    assert status.status == after.status == 0, after.err
    assert after.json["config"] == live
    assert done.status == 0, done.err
    assert cloud.machines["ocr"].config == live


def test_loss_after_stop_of_a_failed_config_is_reported(
    deployed, chandra, cloud, wire, project
):
    chandra("stop")
    project(image=OTHER_IMAGE)
    bad = chandra("deploy", "--dry-run", "--json").json["config"]
    cloud.failing = {bad: "gremlins"}
    chandra("deploy")
    chandra("stop")
    chandra("start")
    delete_by_hand(wire, cloud, chandra)

    assert chandra("status").status == 6


# Rights


def test_stop_and_start_work_without_scheduler_rights(deployed, chandra, cloud):
    config = cloud.machines["ocr"].config
    cloud.forbidden = {"scheduler:GET"}

    stopped = chandra("stop")
    gone = dict(cloud.machines)
    status = chandra("status")
    started = chandra("start")

    assert stopped.status == status.status == started.status == 0, (
        stopped.err + status.err + started.err
    )
    assert gone == {}
    assert "note: whether a schedule starts it again could not be read" in stopped.out
    assert "whether a schedule starts ocr could not be read" in started.out
    assert cloud.machines["ocr"].config == config


def test_update_works_without_scheduler_rights(deployed, chandra, cloud):
    first = cloud.machines["ocr"].config
    cloud.forbidden = {"scheduler:GET"}

    ran = chandra("update", "--image", OTHER_IMAGE)
    back = chandra("rollback")

    assert ran.status == back.status == 0, ran.err + back.err
    assert "whether a schedule starts ocr could not be read" in ran.out
    assert cloud.machines["ocr"].config == first


def test_status_reports_a_schedule_that_may_not_be_read(deployed, chandra, cloud, wire):
    delete_by_hand(wire, cloud, chandra)
    cloud.forbidden = {"scheduler:GET"}

    ran = chandra("status")

    assert ran.status == 6
    assert "nor a schedule (which could not be read)" in ran.out


def test_stop_without_tag_rights_prints_a_note(deployed, chandra, cloud):
    cloud.forbidden = {"sagemaker:AddTags"}

    ran = chandra("stop")

    assert ran.status == 0, ran.err
    assert "note: this was not allowed" in ran.out
    assert cloud.machines == {}


def test_denied_stop_leaves_the_endpoint_in_service(deployed, chandra, cloud, wire):
    cloud.forbidden = {"sagemaker:DeleteEndpoint"}

    ran = chandra("stop")

    assert ran.status == 8
    assert cloud.machines["ocr"].status == "InService"
    assert chandra("status").status == 0


def test_stop_tag_keeps_the_live_tag(deployed, chandra, cloud, wire):
    config = cloud.machines["ocr"].config

    chandra("stop")

    tags = tags_of_config(wire, config)
    assert tags[LIVE_TAG] < tags[STOPPED_TAG]


# Schedules


HOURS = ("--start", "8:00", "--stop", "19:00", "--timezone", "Asia/Tokyo")


@pytest.fixture
def tuesday(chandra, wire, cloud, at):
    """Set the clock to Tuesday, 10:00 in Tokyo, and deploy without a schedule."""
    at.now = datetime(2026, 12, 1, 10, tzinfo=ZoneInfo("Asia/Tokyo")).timestamp()
    cloud.clock = at
    wire.call(
        "iam", "create_role", RoleName="ocr-scheduler", AssumeRolePolicyDocument="{}"
    )
    chandra("deploy")


@pytest.fixture
def scheduled(tuesday, chandra):
    """Schedule weekdays from 8 to 19 in Tokyo, where it is Tuesday, 10:00."""
    made = chandra("schedule", *HOURS)
    assert made.status == 0, made.err


def test_schedule_tells_stopped_from_missing(scheduled, chandra, cloud, wire, at):
    delete_by_hand(wire, cloud, chandra)
    tuesday = at.now
    expected = {
        2: (6, "missing: neither `stop` nor a schedule stopped it"),
        10: (0, "endpoint ocr is stopped by the schedule and costs nothing"),
        21.9: (0, "endpoint ocr is stopped by the schedule and costs nothing"),
        23: (6, "its schedule failed to start it, or something deleted it"),
        4 * 24: (0, "endpoint ocr is stopped by the schedule and costs nothing"),
    }

    ran = {}
    for hours in expected:
        at.now = tuesday + hours * HOUR
        ran[hours] = chandra("status")

    for hours, (status, words) in expected.items():
        assert ran[hours].status == status, hours
        assert words in ran[hours].out


def test_later_schedule_does_not_explain_a_loss(tuesday, chandra, cloud, wire, at):
    at.now += 10 * HOUR
    delete_by_hand(wire, cloud, chandra)
    made = chandra("schedule", *HOURS)

    ran = chandra("status")

    assert made.status == 0, made.err
    assert ran.status == 6
    assert "endpoint ocr is missing: neither `stop` nor a schedule" in ran.out


def test_later_schedule_did_not_start_a_stopped_endpoint(tuesday, chandra, at):
    chandra("stop")
    at.now += 23 * HOUR
    made = chandra("schedule", *HOURS)

    at_once = chandra("status")
    at.now += 24 * HOUR
    next_morning = chandra("status")

    assert made.status == 0, made.err
    assert at_once.status == 0
    assert "endpoint ocr is stopped and costs nothing" in at_once.out
    assert next_morning.status == 6


def test_scheduled_stop_before_a_deploy_explains_no_loss(
    scheduled, chandra, cloud, wire, at, project
):
    at.now += 12 * HOUR
    project(image=OTHER_IMAGE)
    chandra("deploy")
    at.now += HOUR / 2
    delete_by_hand(wire, cloud, chandra)

    ran = chandra("status")

    assert ran.status == 6
    assert "endpoint ocr is missing" in ran.out


def test_manual_stop_holds_until_the_schedule_starts(scheduled, chandra, at):
    chandra("stop")
    at_once = chandra("status")
    at.now += 23 * HOUR
    next_morning = chandra("status")

    assert at_once.status == 0
    assert "is stopped and costs nothing" in at_once.out
    assert next_morning.status == 6


@given(
    st.datetimes(
        min_value=datetime(2026, 1, 1),
        max_value=datetime(2027, 12, 31),
        timezones=st.just(UTC),
    ),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.tuples(st.integers(0, 22), st.integers(0, 59)),
    st.sampled_from(["UTC", "Asia/Tokyo", "America/Lima"]),
)
def test_entry_took_effect_at_its_latest_time(now, days, clock, zone):
    """The reference compares the start times of the last eight days."""
    text = f"{clock[0]:02}:{clock[1]:02}"
    schedule = schedule_from(text, "23:59", ",".join(days), zone)
    calls = schedule.calls(
        "ocr", "c", tags={}, role="r", partition="aws", existing=frozenset()
    )
    entry = next(c.params for c in calls if c.params["Name"] == "ocr-start")

    moment = last_effect_time(entry, now)

    here = now.astimezone(ZoneInfo(zone))
    times = [
        (here - timedelta(days=age)).replace(
            hour=clock[0], minute=clock[1], second=0, microsecond=0
        )
        for age in range(8)
    ]
    assert moment == max(t for t in times if t <= here and DAYS[t.weekday()] in days)


def test_disabled_or_rate_entry_never_took_effect():
    now = datetime(2026, 12, 1, tzinfo=UTC)
    daily = {"ScheduleExpression": "cron(0 8 ? * MON,TUE *)"}

    assert last_effect_time(daily, now) is not None
    assert last_effect_time({**daily, "State": "DISABLED"}, now) is None
    assert last_effect_time({"ScheduleExpression": "rate(1 day)"}, now) is None


def test_entry_of_unknown_time_zone_never_took_effect():
    entry = {
        "ScheduleExpression": "cron(0 8 ? * MON,TUE *)",
        "ScheduleExpressionTimezone": "Europe/Nowhere",
    }

    assert last_effect_time(entry, datetime(2026, 12, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("text", ["2026-11-30", "2026-11-30T10:00:00", "yesterday"])
def test_tags_that_are_not_times_are_ignored(deployed, chandra, cloud, wire, text):
    config = cloud.machines["ocr"].config
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/{config}"
    tags = [{"Key": STOPPED_TAG, "Value": text}]
    wire.call("sagemaker", "add_tags", ResourceArn=arn, Tags=tags)

    ran = chandra("deploy")

    assert ran.status == 0, ran.err


def test_entry_took_no_effect_before_its_creation():
    now = datetime(2026, 12, 1, 12, tzinfo=UTC)
    daily = {"ScheduleExpression": "cron(0 8 ? * MON,TUE *)"}
    eight = now.replace(hour=8)

    assert last_effect_time({**daily, "CreationDate": eight}, now) == eight
    assert last_effect_time({**daily, "CreationDate": now}, now) is None
