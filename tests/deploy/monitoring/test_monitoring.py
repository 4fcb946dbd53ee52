"""Alarms and dashboards, and the queries to CloudWatch."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from deploy.aws.validation import violations
from deploy.monitoring import ALARMS, METRICS, dashboard_call, queries
from deploy.resources import tags_of
from tests.deploy.accounts import configured

pytestmark = pytest.mark.usefixtures("staged")


def test_requests_to_cloudwatch_are_valid(service_model, refusals):
    cloudwatch = service_model("cloudwatch")
    requests = {
        "MetricDataQueries": queries("ocr", 60),
        "StartTime": datetime.now(UTC),
        "EndTime": datetime.now(UTC),
    }
    shape = cloudwatch.operation_model("GetMetricData").input_shape
    tags = tags_of(configured())

    assert list(violations(shape, requests)) == []
    assert len({metric.identifier for metric in METRICS}) == len(METRICS)
    for alarm in ALARMS:
        assert refusals(alarm.call("ocr", tags=tags, notify=["arn:aws:sns:::t"])) == []
    assert refusals(dashboard_call("ocr", "us-east-1")) == []


def test_alarms_are_created_shown_and_deleted(chandra):
    before = chandra("alarms")
    dry_run = chandra("alarms", "--create", "--dry-run")
    created = chandra("alarms", "--create")
    destroyed = chandra("destroy")
    after = chandra("alarms")

    assert "there are no alarms" in before.out
    assert all(line.startswith("would set alarm ") for line in dry_run.out.splitlines())
    assert [row.split()[0] for row in created.out.splitlines()[-3:]] == [
        "ocr-disk",
        "ocr-errors",
        "ocr-latency",
    ]
    assert "delete alarms ocr-disk, ocr-errors, ocr-latency" in destroyed.out
    assert "there are no alarms" in after.out


def test_dashboard_is_created_and_found(chandra):
    assert chandra("dashboard").status == 4

    created = chandra("dashboard", "--create")

    assert "dashboards/dashboard/ocr" in created.out
    assert chandra("dashboard").out == created.out.partition("\n")[2]
    assert "delete dashboard ocr" in chandra("destroy").out
    assert chandra("dashboard").status == 4


def test_dashboard_of_others_stays(chandra, wire):
    wire.call(
        "cloudwatch",
        "put_dashboard",
        DashboardName="ocr",
        DashboardBody=json.dumps({"widgets": []}),
    )

    assert "nothing carries the tag" in chandra("destroy").out


@pytest.mark.parametrize(
    ("command", "operation", "params"),
    [
        ("dashboard", "put_dashboard", {"DashboardName": "ocr", "DashboardBody": "{}"}),
        (
            "alarms",
            "put_metric_alarm",
            {
                "AlarmName": "ocr-errors",
                "EvaluationPeriods": 1,
                "ComparisonOperator": "GreaterThanThreshold",
                "Namespace": "Theirs",
                "MetricName": "Errors",
                "Statistic": "Sum",
                "Period": 60,
                "Threshold": 1.0,
            },
        ),
    ],
)
def test_alarms_of_others_are_not_overwritten(
    chandra, wire, cloud, command, operation, params
):
    wire.call("cloudwatch", operation, **params)
    cloud.calls.clear()

    ran = chandra(command, "--create")

    assert ran.status == 5
    assert "not this deployment's" in ran.err
    assert cloud.changes == []


def test_dashboard_shows_metrics_of_the_table():
    body = json.loads(dashboard_call("ocr", "us-east-1").params["DashboardBody"])
    shown = [
        (line[0], line[1], line[-1]["stat"])
        for widget in body["widgets"]
        for line in widget["properties"].get("metrics", ())
    ]

    assert sorted(shown) == sorted((m.namespace, m.name, m.statistic) for m in METRICS)
