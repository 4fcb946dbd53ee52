"""Scaling of a queue from zero machines to several, and back."""

from __future__ import annotations

import pytest

from deploy.queue.endpoint import (
    build_async_endpoint,
)
from deploy.queue.scaling import is_within
from tests.deploy.accounts import (
    IDENTITY,
    configured,
)
from tests.deploy.queue.configs import (
    TOPIC,
    build_planner,
    build_scaling,
    configure_queue,
    report_as_aws,
)


def test_all_calls_are_valid_for_aws(refusals):
    expected = build_scaling(max_instances=7)
    endpoint = build_async_endpoint(
        configure_queue(success_topic=TOPIC, error_topic=TOPIC), IDENTITY
    )
    calls = [
        expected.target,
        *expected.policies.values(),
        *expected.alarms(dict.fromkeys(expected.policies, "arn:of:it")).values(),
        *build_planner().deploy(endpoint, configured().update)[:2],
    ]

    assert len(calls) == 8
    assert [refusals(call) for call in calls] == [[]] * 8


def test_alarms_use_dimensions_of_sagemaker():
    alarms = build_scaling().alarms(dict.fromkeys(build_scaling().policies, "arn"))
    wake, idle = alarms["ocr-async-wake"].params, alarms["ocr-async-idle"].params

    endpoint = {"Name": "EndpointName", "Value": "ocr-async"}
    assert wake["Dimensions"] == [endpoint]
    waiting, gpu = (m["MetricStat"]["Metric"] for m in idle["Metrics"][:2])
    assert waiting["Dimensions"] == [endpoint]
    assert gpu["Dimensions"] == [
        endpoint,
        {"Name": "VariantName", "Value": "AllTraffic"},
    ]


@pytest.mark.parametrize("timeout", [60, 900, 3600])
def test_idle_time_exceeds_longest_document(timeout):
    expected = build_scaling(timeout_seconds=timeout)
    alarms = expected.alarms(dict.fromkeys(expected.policies, "arn"))
    idle = alarms["ocr-async-idle"].params
    (_, period) = {m["MetricStat"]["Period"] for m in idle["Metrics"][:2]} | {0}
    tracking = expected.policies["backlog"].params[
        "TargetTrackingScalingPolicyConfiguration"
    ]

    assert idle["EvaluationPeriods"] * 60 > timeout
    assert idle["DatapointsToAlarm"] == idle["EvaluationPeriods"]
    assert tracking["DisableScaleIn"] is True
    assert tracking["ScaleInCooldown"] > timeout
    assert period in (0, 60)


def test_existing_scaling_is_not_changed():
    expected = build_scaling()
    planner = build_planner(report_as_aws(expected))

    assert planner.scale(expected) == []
    assert planner.set_scaling_alarms(expected) == []


def test_only_differences_are_changed():
    before, expected = (
        build_scaling(),
        build_scaling(max_instances=5, timeout_seconds=900),
    )
    planner = build_planner(report_as_aws(before))

    sentences = [
        a.sentence
        for a in [*planner.scale(expected), *planner.set_scaling_alarms(expected)]
    ]

    assert sentences == [
        "let endpoint ocr-async have 0 to 5 machines",
        "set scaling policy backlog of endpoint ocr-async: add a machine if more "
        "than 5 documents wait per machine",
        "set alarm ocr-async-idle: no work for 20 minutes",
    ]


def test_values_added_by_aws_are_no_difference():
    assert is_within({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": 3})
    assert not is_within({"a": [{"b": 1}]}, {"a": [{"b": 2}]})
    assert not is_within({"a": [1]}, {"a": [1, 2]})
    assert not is_within({"a": 1}, None)
