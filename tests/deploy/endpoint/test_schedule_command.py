"""Command `schedule`, and its effects on other commands."""

from __future__ import annotations

import json

import pytest

from tests.deploy.accounts import OTHER_IMAGE

pytestmark = pytest.mark.usefixtures("staged")


HOURS = ("--start", "08:00", "--stop", "19:00", "--timezone", "Asia/Tokyo")
SET_SCHEDULE = ("schedule", *HOURS)


@pytest.fixture
def scheduler_role(wire):
    wire.call(
        "iam", "create_role", RoleName="ocr-scheduler", AssumeRolePolicyDocument="{}"
    )


def test_schedule_follows_the_live_config(
    chandra, wire, cloud, project, scheduler_role
):
    chandra("deploy")
    made = chandra(*SET_SCHEDULE)
    project(image=OTHER_IMAGE)
    chandra("deploy")

    entry = wire.call("scheduler", "get_schedule", GroupName="ocr", Name="ocr-start")

    assert made.status == 0, made.err
    assert "runs 55 of 168 hours a week" in made.out
    assert "67% less" in made.out
    target = json.loads(entry["Target"]["Input"])
    assert target["EndpointConfigName"] == cloud.machines["ocr"].config


def test_stop_names_the_schedule_that_starts_it(chandra, cloud, scheduler_role):
    chandra("deploy")
    chandra(*SET_SCHEDULE)

    ran = chandra("stop")

    assert "note: the schedule starts it again, cron(0 8 ?" in ran.out
    assert "schedule --remove" in ran.out


def test_a_schedule_is_shown_changed_and_removed(chandra, scheduler_role):
    chandra("deploy")
    chandra(*SET_SCHEDULE)
    changed = chandra(*SET_SCHEDULE, "--days", "sat")
    shown = chandra("schedule")
    removed = chandra("schedule", "--remove")

    assert changed.status == 0, changed.err
    assert "cron(0 8 ? * SAT *)" in shown.out
    assert removed.status == 0
    assert "there is no schedule" in chandra("schedule").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--remove", "--start", "8:00"], "--remove cannot be combined with --start"),
        (["--days", "sat"], "--start and --stop go together, and --days with both"),
        (["--stop", "19:00"], "--start and --stop go together"),
    ],
)
def test_schedule_rejects_flags_that_it_would_ignore(
    chandra, cloud, scheduler_role, arguments, message
):
    chandra("deploy")
    chandra(*SET_SCHEDULE)
    cloud.calls.clear()

    ran = chandra("schedule", *arguments)

    assert ran.status == 2
    assert message in ran.err
    assert cloud.changes == []


def test_missing_schedule_is_not_reported_as_removed(chandra, cloud, scheduler_role):
    chandra("deploy")
    never = chandra("schedule", "--remove")
    chandra(*SET_SCHEDULE)
    dry_run = chandra("schedule", "--remove", "--dry-run")
    chandra("schedule", "--remove")
    again = chandra("schedule", "--remove")

    assert dry_run.out.splitlines() == [
        "would delete schedule ocr-start",
        "would delete schedule ocr-stop",
    ]
    assert (
        never.out
        == again.out
        == "there is no schedule: the endpoint runs until you stop it\n"
    )


def test_destroy_deletes_the_schedule_first(chandra, scheduler_role):
    chandra("deploy")
    chandra(*SET_SCHEDULE)

    ran = chandra("destroy", "--dry-run")

    assert ran.out.splitlines()[0] == (
        "would delete schedule group ocr and its entries"
    )


def test_schedule_without_a_role_names_the_command(chandra):
    chandra("deploy")

    ran = chandra(*SET_SCHEDULE)

    assert ran.status == 4
    assert "iam --create" in ran.err


def test_prices_name_their_region_and_month(chandra, scheduler_role):
    """Prices are those of one region, from a copy of the price list."""
    note = "on demand in us-east-1, September 2026; other regions differ"
    runs = [
        chandra("plan"),
        chandra("deploy"),
        chandra(*SET_SCHEDULE),
        chandra("cost"),
        chandra("stop"),
    ]

    assert [ran.out for ran in runs if note not in ran.out] == []
    assert note == chandra("plan", "--json").json["price_note"]
    assert note == chandra("cost", "--json").json["prices"]
