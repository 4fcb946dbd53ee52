"""Tests of the metrics that the emulator publishes about endpoints."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from deploy.emulator.limits import Assumptions
from deploy.emulator.metrics import UNITS
from deploy.emulator.seed import seed
from deploy.monitoring import METRICS, QUEUE_METRICS
from tests.deploy.emulator.conftest import REGION, command_line
from tests.deploy.emulator.containers import Reply
from tests.waiting import until

FREQUENT = Assumptions(metrics_seconds=0.05)


@pytest.fixture
def local(start, container):
    """Emulator that publishes metrics twenty times a second."""
    return start(container.address, assumptions=FREQUENT)


def read_metric(local, name, statistic, *, variant="AllTraffic", endpoint="ocr"):
    """Return a statistic of the last minutes, or None if there is no value yet."""
    dimensions = {"EndpointName": endpoint, "VariantName": variant}
    answer = local.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=name,
        Dimensions=[{"Name": n, "Value": v} for n, v in dimensions.items() if v],
        StartTime=datetime.now(UTC) - timedelta(minutes=5),
        EndTime=datetime.now(UTC) + timedelta(minutes=5),
        Period=3600,
        Statistics=[statistic],
        Unit=UNITS[name],
    )
    return next((point[statistic] for point in answer["Datapoints"]), None)


def wait_for_metric(local, name, statistic, value, **where):
    until(lambda: read_metric(local, name, statistic, **where) == value)


def hold_responses(container):
    """Hold the responses of the container until the returned event is set."""
    release = threading.Event()
    container.reply = lambda received: Reply(b"x" if release.wait(20) else b"")
    return release


def test_invocations_are_counted_with_status_and_latency(local, container):
    local.create_endpoint()
    statuses = iter((200, 200, 422, 500))
    container.reply = lambda received: Reply(b"x", next(statuses))

    for _ in range(4):
        with suppress(ClientError):
            local.runtime.invoke_endpoint(EndpointName="ocr", Body=b"page")

    wait_for_metric(local, "Invocations", "Sum", 4)
    assert read_metric(local, "InvocationsPerInstance", "Sum") == 4
    assert read_metric(local, "InvocationModelErrors", "Sum") == 2
    assert read_metric(local, "Invocation4XXErrors", "Sum") == 1
    assert read_metric(local, "Invocation5XXErrors", "Average") == 0.25
    # The response takes a few milliseconds; the metric has microseconds.
    assert 100 < read_metric(local, "ModelLatency", "Average") < 20e6
    assert read_metric(local, "OverheadLatency", "Minimum") >= 0


def test_missing_response_counts_only_as_model_error(local, container):
    local.create_endpoint()
    container.reply = lambda received: Reply(is_broken=True)

    with pytest.raises(ClientError, match="ModelError"):
        local.runtime.invoke_endpoint(EndpointName="ocr", Body=b"page")

    wait_for_metric(local, "InvocationModelErrors", "Sum", 1)
    assert read_metric(local, "Invocation5XXErrors", "Sum") == 0


def test_stream_is_counted_when_it_ends(local, container):
    local.create_endpoint()
    container.reply = lambda received: Reply(iter([b"one", b"two"]))

    answer = local.runtime.invoke_endpoint_with_response_stream(
        EndpointName="ocr", Body=b"page"
    )
    assert len(list(answer["Body"])) == 2

    wait_for_metric(local, "Invocations", "Sum", 1)
    assert read_metric(local, "InvocationModelErrors", "Sum") == 0


def test_rejected_request_is_not_counted(local):
    local.create_async_endpoint()

    with pytest.raises(ClientError, match="asynchronous"):
        local.runtime.invoke_endpoint(EndpointName="ocr", Body=b"page")

    wait_for_metric(local, "ApproximateBacklogSize", "Maximum", 0, variant=None)
    assert read_metric(local, "Invocations", "Sum") is None


def test_queue_metrics_have_the_endpoint_dimension_alone(local, container):
    local.create_async_endpoint(concurrency=1)
    release = hold_responses(container)

    for number in range(4):
        local.runtime.invoke_endpoint_async(EndpointName="ocr", Body=b"%d" % number)

    # The backlog excludes the request that is running.
    until(lambda: len(container.received) == 1)
    size = "ApproximateBacklogSize"
    until(lambda: (read_metric(local, size, "Maximum", variant=None) or 0) >= 3)
    assert read_metric(local, "ApproximateBacklogSize", "Maximum") is None
    assert read_metric(local, "HasBacklogWithoutCapacity", "Maximum", variant=None) == 0
    release.set()

    wait_for_metric(local, "InvocationsProcessed", "Sum", 4)
    assert read_metric(local, "InvocationFailures", "Sum") is None
    assert read_metric(local, "Invocation4XXErrors", "SampleCount") == 4
    assert read_metric(local, "TimeInBacklog", "SampleCount") == 4
    assert read_metric(local, "TotalProcessingTime", "Maximum") > 0
    assert read_metric(local, "Invocations", "Sum") is None


def test_backlog_without_healthy_container_has_no_capacity(local, container):
    local.create_async_endpoint()
    container.ping = 503

    local.runtime.invoke_endpoint_async(EndpointName="ocr", Body=b"page")

    # The request has a thread, which waits for a healthy container.
    wait_for_metric(local, "HasBacklogWithoutCapacity", "Maximum", 1, variant=None)
    assert read_metric(local, "ApproximateBacklogSize", "Maximum", variant=None) == 1
    container.ping = 200
    wait_for_metric(local, "InvocationsProcessed", "Sum", 1)


@pytest.mark.parametrize("is_counted", [False, True])
def test_backlog_can_include_running_requests(start, container, is_counted):
    local = start(
        container.address, assumptions=Assumptions(backlog_counts_running=is_counted)
    )
    local.create_async_endpoint()
    release = hold_responses(container)

    local.runtime.invoke_endpoint_async(EndpointName="ocr", Body=b"page")
    until(lambda: len(container.received) == 1)

    [level] = local.emulator.asynchronous.read_levels()
    assert level.values["ApproximateBacklogSize"] == is_counted
    release.set()


def test_failures_are_counted_by_their_cause(local, container):
    local.create_async_endpoint(ErrorTopic="arn:aws:sns:us-east-1:123456789012:nowhere")
    container.reply = lambda received: Reply(b"no", 500)

    local.runtime.invoke_endpoint_async(EndpointName="ocr", Body=b"page")
    local.runtime.invoke_endpoint_async(
        EndpointName="ocr", InputLocation="s3://documents/nowhere.pdf"
    )

    wait_for_metric(local, "InvocationFailures", "Sum", 2)
    assert read_metric(local, "RequestDownloadFailures", "Sum") == 1
    assert read_metric(local, "Invocation5XXErrors", "Sum") == 1
    wait_for_metric(local, "NotificationFailures", "Sum", 2)


def test_deleted_endpoint_publishes_no_metrics(local):
    local.create_async_endpoint()
    wait_for_metric(local, "ApproximateBacklogSize", "Maximum", 0, variant=None)

    local.sagemaker.delete_endpoint(EndpointName="ocr")

    assert list(local.emulator.asynchronous.read_levels()) == []


def test_failing_metrics_are_reported_once_and_harm_no_request(local, container):
    local.create_endpoint()
    call, tried = local.backend.call, []

    def refusing(region, service, *arguments, **params):
        if service == "cloudwatch":
            tried.append(params)
            raise RuntimeError("no CloudWatch today")
        return call(region, service, *arguments, **params)

    local.backend.call = refusing

    for _ in range(2):
        answer = local.runtime.invoke_endpoint(EndpointName="ocr", Body=b"page")
        assert answer["Body"].read() == b"page"
        num_tried = len(tried)
        until(lambda: len(tried) > num_tried)  # noqa: B023

    reports = [line for line in local.lines if "cannot publish metrics" in line]
    assert reports == ["cannot publish metrics: no CloudWatch today"]


def test_status_and_metrics_commands_show_the_backlog(local, container, tmp_path):
    made = seed(local.backend, REGION, "chandra")
    path = tmp_path / "chandra.toml"
    path.write_text(made.settings(REGION))
    chandra = command_line(local, path)
    container.ping = 503

    for number in range(3):
        local.runtime.invoke_endpoint_async(
            EndpointName=made.async_endpoint, Body=b"%d" % number
        )

    def queue():
        return json.loads(chandra("status", "--json")[1])["asynchronous"]

    until(lambda: queue()["backlog"] == 3)
    assert queue()["has_backlog_without_capacity"] == 1
    container.ping = 200
    wait_for_metric(
        local, "InvocationsProcessed", "Sum", 3, endpoint=made.async_endpoint
    )

    def shown():
        return json.loads(chandra("metrics", "--async", "--json")[1])

    until(lambda: sum(point["value"] for point in shown()["processed"]) == 3)
    assert max(point["value"] for point in shown()["waiting"]) == 3
    # moto alone has no percentiles.
    assert all(point["value"] > 0 for point in shown()["latency p99"])


def test_all_metrics_of_the_commands_are_published():
    names = {
        m.name for m in (*METRICS, *QUEUE_METRICS) if m.namespace.startswith("AWS")
    }

    assert names <= UNITS.keys()
