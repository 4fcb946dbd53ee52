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
from deploy.emulator.seed import create_samples
from deploy.monitoring import METRICS, QUEUE_METRICS
from tests.deploy.emulator.conftest import REGION, create_command_runner
from tests.deploy.emulator.containers import Reply
from tests.waiting import until

FREQUENT = Assumptions(metrics_seconds=0.05)


@pytest.fixture
def emulator(start_emulator, container):
    """Emulator that publishes metrics twenty times a second."""
    return start_emulator(container.address, assumptions=FREQUENT)


def read_metric(emulator, name, statistic, *, variant="AllTraffic", endpoint="ocr"):
    """Return a statistic of the last minutes, or None if there is no value yet."""
    dimensions = {"EndpointName": endpoint, "VariantName": variant}
    response = emulator.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=name,
        Dimensions=[{"Name": n, "Value": v} for n, v in dimensions.items() if v],
        StartTime=datetime.now(UTC) - timedelta(minutes=5),
        EndTime=datetime.now(UTC) + timedelta(minutes=5),
        Period=3600,
        Statistics=[statistic],
        Unit=UNITS[name],
    )
    return next((point[statistic] for point in response["Datapoints"]), None)


def wait_for_metric(emulator, name, statistic, value, **where):
    """Wait until a statistic of a metric has this value."""
    until(lambda: read_metric(emulator, name, statistic, **where) == value)


def hold_responses(container):
    """Hold the responses of the container until the returned event is set."""
    release = threading.Event()
    container.reply = lambda received: Reply(b"x" if release.wait(20) else b"")
    return release


def test_invocations_are_counted_with_status_and_latency(emulator, container):
    emulator.create_endpoint()
    statuses = iter((200, 200, 422, 500))
    container.reply = lambda received: Reply(b"x", next(statuses))

    for _ in range(4):
        with suppress(ClientError):
            emulator.runtime.invoke_endpoint(EndpointName="ocr", Body=b"page")

    wait_for_metric(emulator, "Invocations", "Sum", 4)
    assert read_metric(emulator, "InvocationsPerInstance", "Sum") == 4
    assert read_metric(emulator, "InvocationModelErrors", "Sum") == 2
    assert read_metric(emulator, "Invocation4XXErrors", "Sum") == 1
    assert read_metric(emulator, "Invocation5XXErrors", "Average") == 0.25
    # The response takes a few milliseconds; the metric has microseconds.
    assert 100 < read_metric(emulator, "ModelLatency", "Average") < 20e6
    assert read_metric(emulator, "OverheadLatency", "Minimum") >= 0


def test_missing_response_counts_only_as_model_error(emulator, container):
    emulator.create_endpoint()
    container.reply = lambda received: Reply(is_broken=True)

    with pytest.raises(ClientError, match="ModelError"):
        emulator.runtime.invoke_endpoint(EndpointName="ocr", Body=b"page")

    wait_for_metric(emulator, "InvocationModelErrors", "Sum", 1)
    assert read_metric(emulator, "Invocation5XXErrors", "Sum") == 0


def test_stream_is_counted_when_it_ends(emulator, container):
    emulator.create_endpoint()
    container.reply = lambda received: Reply(iter([b"one", b"two"]))

    response = emulator.runtime.invoke_endpoint_with_response_stream(
        EndpointName="ocr", Body=b"page"
    )
    assert len(list(response["Body"])) == 2

    wait_for_metric(emulator, "Invocations", "Sum", 1)
    assert read_metric(emulator, "InvocationModelErrors", "Sum") == 0


def test_rejected_request_is_not_counted(emulator):
    emulator.create_async_endpoint()

    with pytest.raises(ClientError, match="asynchronous"):
        emulator.runtime.invoke_endpoint(EndpointName="ocr", Body=b"page")

    wait_for_metric(emulator, "ApproximateBacklogSize", "Maximum", 0, variant=None)
    assert read_metric(emulator, "Invocations", "Sum") is None


def test_backlog_metrics_have_the_endpoint_dimension_alone(emulator, container):
    emulator.create_async_endpoint(concurrency=1)
    release = hold_responses(container)

    for number in range(4):
        emulator.runtime.invoke_endpoint_async(EndpointName="ocr", Body=b"%d" % number)

    # The backlog excludes the request that is running.
    until(lambda: len(container.received) == 1)
    size = "ApproximateBacklogSize"
    until(lambda: (read_metric(emulator, size, "Maximum", variant=None) or 0) >= 3)
    assert read_metric(emulator, "ApproximateBacklogSize", "Maximum") is None
    assert (
        read_metric(emulator, "HasBacklogWithoutCapacity", "Maximum", variant=None) == 0
    )
    release.set()

    # The other metrics of a queue have the variant too.
    wait_for_metric(emulator, "InvocationsProcessed", "Sum", 4)
    assert read_metric(emulator, "InvocationFailures", "Sum") is None
    assert read_metric(emulator, "Invocation4XXErrors", "SampleCount") == 4
    assert read_metric(emulator, "TimeInBacklog", "SampleCount") == 4
    assert read_metric(emulator, "TotalProcessingTime", "Maximum") > 0
    assert read_metric(emulator, "Invocations", "Sum") is None


def test_backlog_without_healthy_container_has_no_capacity(emulator, container):
    emulator.create_async_endpoint()
    container.ping = 503

    emulator.runtime.invoke_endpoint_async(EndpointName="ocr", Body=b"page")

    # The request has a thread, which waits for a healthy container.
    wait_for_metric(emulator, "HasBacklogWithoutCapacity", "Maximum", 1, variant=None)
    assert read_metric(emulator, "ApproximateBacklogSize", "Maximum", variant=None) == 1
    container.ping = 200
    wait_for_metric(emulator, "InvocationsProcessed", "Sum", 1)


@pytest.mark.parametrize("is_counted", [False, True])
def test_backlog_can_include_running_requests(start_emulator, container, is_counted):
    emulator = start_emulator(
        container.address, assumptions=Assumptions(backlog_counts_running=is_counted)
    )
    emulator.create_async_endpoint()
    release = hold_responses(container)

    emulator.runtime.invoke_endpoint_async(EndpointName="ocr", Body=b"page")
    until(lambda: len(container.received) == 1)

    [level] = emulator.instance.asynchronous.read_levels()
    assert level.values["ApproximateBacklogSize"] == is_counted
    release.set()


def test_failures_are_counted_by_their_cause(emulator, container):
    emulator.create_async_endpoint(
        ErrorTopic="arn:aws:sns:us-east-1:123456789012:nowhere"
    )
    container.reply = lambda received: Reply(b"no", 500)

    emulator.runtime.invoke_endpoint_async(EndpointName="ocr", Body=b"page")
    emulator.runtime.invoke_endpoint_async(
        EndpointName="ocr", InputLocation="s3://documents/nowhere.pdf"
    )

    wait_for_metric(emulator, "InvocationFailures", "Sum", 2)
    assert read_metric(emulator, "RequestDownloadFailures", "Sum") == 1
    assert read_metric(emulator, "Invocation5XXErrors", "Sum") == 1
    wait_for_metric(emulator, "NotificationFailures", "Sum", 2)


def test_deleted_endpoint_publishes_no_metrics(emulator):
    emulator.create_async_endpoint()
    wait_for_metric(emulator, "ApproximateBacklogSize", "Maximum", 0, variant=None)

    emulator.sagemaker.delete_endpoint(EndpointName="ocr")

    assert list(emulator.instance.asynchronous.read_levels()) == []


def test_failing_metrics_are_reported_once_and_harm_no_request(emulator, container):
    emulator.create_endpoint()
    original_call, attempts = emulator.backend.call, []

    def fail_for_cloudwatch(region, service, *arguments, **params):
        if service == "cloudwatch":
            attempts.append(params)
            raise RuntimeError("no CloudWatch today")
        return original_call(region, service, *arguments, **params)

    emulator.backend.call = fail_for_cloudwatch

    for _ in range(2):
        response = emulator.runtime.invoke_endpoint(EndpointName="ocr", Body=b"page")
        assert response["Body"].read() == b"page"
        num_attempts = len(attempts)
        until(lambda: len(attempts) > num_attempts)  # noqa: B023

    reports = [line for line in emulator.lines if "cannot publish metrics" in line]
    assert reports == ["cannot publish metrics: no CloudWatch today"]


def test_status_and_metrics_commands_show_the_backlog(emulator, container, tmp_path):
    samples = create_samples(emulator.backend, REGION, "chandra")
    path = tmp_path / "chandra.toml"
    path.write_text(samples.format_settings(REGION))
    run_command = create_command_runner(emulator, path)
    container.ping = 503

    for number in range(3):
        emulator.runtime.invoke_endpoint_async(
            EndpointName=samples.async_endpoint, Body=b"%d" % number
        )

    def read_queue_status():
        return json.loads(run_command("status", "--json")[1])["asynchronous"]

    until(lambda: read_queue_status()["backlog"] == 3)
    assert read_queue_status()["has_backlog_without_capacity"] == 1
    container.ping = 200
    wait_for_metric(
        emulator, "InvocationsProcessed", "Sum", 3, endpoint=samples.async_endpoint
    )

    def read_metrics():
        return json.loads(run_command("metrics", "--async", "--json")[1])

    until(lambda: sum(point["value"] for point in read_metrics()["processed"]) == 3)
    assert max(point["value"] for point in read_metrics()["waiting"]) == 3
    # moto alone has no percentiles.
    assert all(point["value"] > 0 for point in read_metrics()["latency p99"])


def test_all_metrics_of_the_commands_are_published():
    names = {
        m.name for m in (*METRICS, *QUEUE_METRICS) if m.namespace.startswith("AWS")
    }

    assert names <= UNITS.keys()
