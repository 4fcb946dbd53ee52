"""Status, log, metrics, alarms and dashboard of a queue."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.aws.validation import violations
from deploy.commands.endpoint.steps.queue_status import find_async_endpoint
from deploy.errors import AccessDeniedError
from deploy.monitoring import (
    QUEUE_METRICS,
    dashboard_call,
    queries,
    queue_alarms,
)
from deploy.resources import tags_of
from tests.deploy.accounts import (
    configured,
)
from tests.deploy.queue.configs import QUEUE_CONFIG, TOPIC, configure_queue


def test_queue_has_own_log(deployed, chandra, wire, at):
    group, stream = "/aws/sagemaker/Endpoints/ocr-async", "AllTraffic/i-1"
    wire.call("logs", "create_log_group", logGroupName=group)
    wire.call("logs", "create_log_stream", logGroupName=group, logStreamName=stream)
    wire.call(
        "logs",
        "put_log_events",
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": int(at.now * 1000), "message": "a page was read"}],
    )

    assert "a page was read" in chandra("logs", "--async").out
    assert "no lines" in chandra("logs").out


def put_backlog(wire, at, **values):
    """Write metrics of the queue without a variant, as SageMaker does."""
    wire.call(
        "cloudwatch",
        "put_metric_data",
        Namespace="AWS/SageMaker",
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": "EndpointName", "Value": "ocr-async"}],
                "Timestamp": datetime.fromtimestamp(at.now - 90, UTC),
                "Value": value,
            }
            for name, value in values.items()
        ],
    )


@pytest.mark.usefixtures("deployed")
def test_status_shows_queue_and_backlog(chandra, wire, at):
    put_backlog(
        wire,
        at,
        ApproximateBacklogSize=12,
        ApproximateBacklogSizePerInstance=12,
        HasBacklogWithoutCapacity=1,
        ApproximateAgeOfOldestRequest=90,
    )

    result = chandra("status")
    facts = chandra("status", "--json").json

    assert result.status == 0, result.err
    assert "there is no endpoint ocr that answers in real time" in result.out
    assert "12 documents, 12 for each machine, the oldest for 1 min 30 s" in result.out
    assert "documents wait and no machine runs: one is starting" in result.out
    assert "1 x ml.g6e.2xlarge (0 to 2)" in result.out
    assert (facts["endpoint"], facts["status"]) == ("ocr", None)
    queue = facts["asynchronous"]
    assert (queue["endpoint"], queue["status"]) == ("ocr-async", "InService")
    assert (queue["backlog"], queue["has_backlog_without_capacity"]) == (12, 1)
    assert set(queue["alarms"]) == {"wake", "idle"}
    assert queue["price_an_hour"] == 2.80


class DeniedAccount:
    """Account whose caller may not read everything."""

    def read_endpoint(self, name):
        raise AccessDeniedError(f"not authorized to describe {name}")


def test_denied_queue_does_not_fail_status():
    context: Any = SimpleNamespace(config=configured(), account=DeniedAccount())

    assert find_async_endpoint(context) is None


@pytest.mark.usefixtures("deployed")
def test_status_reports_denied_metrics(chandra, intercept):
    def deny(params):
        raise AccessDeniedError("not authorized: GetMetricData", hint="iam")

    intercept("cloudwatch", "GetMetricData", deny)

    result = chandra("status")

    assert "not known: not authorized: GetMetricData" in result.out
    assert "CloudWatch has no number" not in result.out


@pytest.mark.usefixtures("deployed")
def test_status_of_denied_endpoint_is_unknown(chandra, intercept):
    def deny(params):
        if params["EndpointName"] == "ocr-async":
            raise AccessDeniedError("not authorized: DescribeEndpoint", hint="iam")

    intercept("sagemaker", "DescribeEndpoint", deny)

    result = chandra("status")

    assert "not known: not authorized: DescribeEndpoint" in result.out
    assert "stopped" not in result.out.partition("asynchronous")[2]


@pytest.mark.usefixtures("deployed")
def test_queue_without_metrics_shows_no_numbers(chandra):
    assert "not known: CloudWatch has no number" in chandra("status").out


def test_metrics_are_those_of_async_endpoints(
    deployed, chandra, wire, at, service_model
):
    put_backlog(wire, at, ApproximateBacklogSize=12)
    queried = {
        "MetricDataQueries": queries("ocr-async", 60, QUEUE_METRICS),
        "StartTime": datetime.now(UTC),
        "EndTime": datetime.now(UTC),
    }
    shape = service_model("cloudwatch").operation_model("GetMetricData").input_shape

    result = chandra("metrics", "--async")

    assert result.status == 0, result.err
    (row,) = (r for r in result.out.splitlines() if r.startswith("waiting"))
    assert row.split()[1:4] == ["12", "12", "12"]
    assert "invocations" not in result.out
    assert list(violations(shape, queried)) == []
    names = [metric.identifier for metric in QUEUE_METRICS]
    assert len({*names}) == len(names)


def test_queue_alarms_are_removed_with_queue(deployed, chandra, wire, project):
    project(QUEUE_CONFIG + "wait_seconds = 7200\n")

    before = chandra("alarms", "--async")
    created = chandra("alarms", "--async", "--create", "--notify", TOPIC)
    alarms = {
        each["AlarmName"]: each
        for each in wire.pages("cloudwatch", "describe_alarms", "MetricAlarms")
    }
    destroyed = chandra("destroy")

    # Those that move its machines are there already, and not made by this command.
    assert "ocr-async-wake" in before.out
    assert created.status == 0, created.err
    suffixes = ("capacity", "disk", "errors", "failures", "idle", "oldest", "wake")
    assert sorted(alarms) == [f"ocr-async-{suffix}" for suffix in suffixes]
    oldest, errors = alarms["ocr-async-oldest"], alarms["ocr-async-errors"]
    # A queue belongs to the endpoint, an answer to the variant.
    assert [d["Name"] for d in oldest["Dimensions"]] == ["EndpointName"]
    assert [d["Name"] for d in errors["Dimensions"]] == ["EndpointName", "VariantName"]
    assert (oldest["Threshold"], oldest["AlarmActions"]) == (3600, [TOPIC])
    assert "waited for 60 minutes, half of the time" in created.out
    assert all(name in destroyed.out for name in alarms)
    assert chandra("alarms").out.startswith("there are no alarms")


def test_alarms_and_dashboard_are_valid_for_aws(refusals):
    tags = tags_of(configure_queue())

    for alarm in queue_alarms(21_600):
        assert refusals(alarm.call("ocr-async", tags=tags, notify=[TOPIC])) == []
        # CloudWatch looks back a day at most.
        assert alarm.num_periods * alarm.period_seconds <= 86_400
    assert refusals(dashboard_call("ocr-async", "us-east-1", is_async=True)) == []


def test_dashboard_uses_dimensions_of_each_metric():
    call = dashboard_call("ocr-async", "us-east-1", is_async=True)
    drawn = [
        (line[0], line[1], line[-1]["stat"], "VariantName" in line)
        for widget in json.loads(call.params["DashboardBody"])["widgets"]
        for line in widget["properties"].get("metrics", ())
    ]

    assert sorted(drawn) == sorted(
        (metric.namespace, metric.name, metric.statistic, metric.of_variant)
        for metric in QUEUE_METRICS
    )


def test_queue_has_own_dashboard(deployed, chandra):
    assert "dashboard --async --create" in chandra("dashboard", "--async").err

    created = chandra("dashboard", "--async", "--create")

    assert "dashboards/dashboard/ocr-async" in created.out
    assert chandra("dashboard").status == 4
    assert "delete dashboard ocr-async" in chandra("destroy").out
