"""Schedules: parsing of flags, and entries of EventBridge Scheduler."""

from __future__ import annotations

import json

import pytest

from deploy.endpoint.schedule import (
    Schedule,
    schedule_from,
    update_request_of,
    with_config,
)
from deploy.errors import ConfigError


def calls(schedule, existing=()):
    return schedule.calls(
        "ocr",
        "ocr-1",
        tags={"team": "ocr"},
        role="arn:aws:iam::123456789012:role/ocr-scheduler",
        partition="aws",
        existing=frozenset(existing),
    )


def test_working_hours_become_two_entries_in_a_group():
    group, start, stop = calls(schedule_from("8:00", "19:30", "mon-fri", "Asia/Tokyo"))

    assert group.operation == "create_schedule_group"
    assert start.params["ScheduleExpression"] == "cron(0 8 ? * MON,TUE,WED,THU,FRI *)"
    assert stop.params["ScheduleExpression"] == "cron(30 19 ? * MON,TUE,WED,THU,FRI *)"
    assert start.params["ScheduleExpressionTimezone"] == "Asia/Tokyo"


def test_schedule_creates_and_deletes_the_endpoint():
    _, start, stop = calls(schedule_from("08:00", "19:00", "mon", "UTC"))

    assert start.params["Target"]["Arn"].endswith("aws-sdk:sagemaker:createEndpoint")
    assert json.loads(start.params["Target"]["Input"]) == {
        "EndpointName": "ocr",
        "EndpointConfigName": "ocr-1",
        "Tags": [{"Key": "team", "Value": "ocr"}],
    }
    assert stop.params["Target"]["Arn"].endswith("aws-sdk:sagemaker:deleteEndpoint")
    assert json.loads(stop.params["Target"]["Input"]) == {"EndpointName": "ocr"}


def test_existing_entry_is_updated():
    created = calls(schedule_from("08:00", "19:00", "mon", "UTC"), ["ocr", "ocr-start"])

    assert [call.operation for call in created] == [
        "update_schedule",
        "create_schedule",
    ]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon-fri", ("mon", "tue", "wed", "thu", "fri")),
        ("sat-mon", ("mon", "sat", "sun")),
        ("Wed,mon", ("mon", "wed")),
        ("sun", ("sun",)),
    ],
)
def test_days_are_a_range_or_a_list(text, days):
    assert schedule_from("08:00", "19:00", text, "UTC").days == days


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("25:00", "19:00", "mon", "UTC"), "--start must look like 08:00"),
        (("08:00", "7pm", "mon", "UTC"), "--stop must look like"),
        (("19:00", "08:00", "mon", "UTC"), "is not after"),
        (("08:00", "19:00", "weekdays", "UTC"), "--days must look like"),
        (("08:00", "19:00", "mon", "Berlin"), "--timezone must be a name"),
    ],
)
def test_invalid_flag_is_named(arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        schedule_from(*arguments)


def test_the_hours_of_a_week_are_counted():
    assert Schedule((8, 0), (19, 30), ("mon", "tue"), "UTC").hours_a_week == 23


def test_an_entry_can_be_sent_again_with_another_config():
    _, start, _ = calls(schedule_from("08:00", "19:00", "mon", "UTC"))
    answer = {**start.params, "Arn": "arn:…", "CreationDate": "2026-11-26"}

    request = with_config(update_request_of(answer), "ocr-2")

    assert request.keys() == start.params.keys()
    assert json.loads(request["Target"]["Input"])["EndpointConfigName"] == "ocr-2"
