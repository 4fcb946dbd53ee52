"""From no machine to some and back: what `async deploy` makes, and what removes it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.aws.validation import violations
from deploy.commands.queue.status import queue_state
from deploy.endpoint.planner import Planner
from deploy.errors import AccessDeniedError, ConfigError
from deploy.monitoring import (
    QUEUE_METRICS,
    dashboard_call,
    queries,
    queue_alarms,
)
from deploy.policies import caller_policy, execution_policy
from deploy.queue.endpoint import (
    async_config,
    async_endpoint_from,
    concurrency_of,
)
from deploy.queue.scaling import ObservedScaling, Scaling, is_within, scalable
from deploy.resources import tags_of
from tests.deploy.accounts import (
    IDENTITY,
    NOW,
    OTHER_IMAGE,
    FakeAccount,
    configured,
)

TOPIC = "arn:aws:sns:us-east-1:123456789012:ocr"
EXTRA = '[asynchronous]\nbucket = "exchange"\n'


def with_queue(**settings):
    return configured(asynchronous={"bucket": "exchange", **settings})


def scaling(**settings):
    config = async_config(with_queue(**settings), IDENTITY)
    return Scaling.of(config.name, config.asynchronous, tags_of(config))


def planner(observed=None):
    return Planner(FakeAccount(observed=observed or ObservedScaling()), IDENTITY, NOW)


def made(wanted):
    """What AWS says when all of it has been made."""
    arns = {name: f"arn:of:{name}" for name in wanted.policies}
    return ObservedScaling(
        target={**wanted.target.params, "CreationTime": NOW},
        policies={
            name: {**call.params, "PolicyARN": arns[name]}
            for name, call in wanted.policies.items()
        },
        alarms={
            name: {**call.params, "StateValue": "OK"}
            for name, call in wanted.alarms(arns).items()
        },
    )


# The endpoint


def test_the_endpoint_is_another_one_with_a_model_of_its_own():
    endpoint = async_endpoint_from(with_queue(), IDENTITY)

    assert endpoint.name == "ocr-async"
    assert endpoint.model.name.startswith("ocr-async-")
    assert endpoint.model.role == IDENTITY.role_arn("ocr-execution")
    assert endpoint.config.request["AsyncInferenceConfig"] == {
        "OutputConfig": {
            "S3OutputPath": "s3://exchange/async/ocr/out",
            "S3FailurePath": "s3://exchange/async/ocr/failed",
        },
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 8},
    }


def test_topics_are_told_on_request():
    endpoint = async_endpoint_from(
        with_queue(success_topic=TOPIC, error_topic=TOPIC), IDENTITY
    )

    output = endpoint.config.request["AsyncInferenceConfig"]["OutputConfig"]
    assert output["NotificationConfig"] == {"SuccessTopic": TOPIC, "ErrorTopic": TOPIC}


def test_answers_are_encrypted_with_the_key_of_the_deployment():
    config = configured(
        asynchronous={"bucket": "exchange"}, network={"kms_key": "alias/ocr"}
    )

    inference = async_endpoint_from(config, IDENTITY).config.request

    output = inference["AsyncInferenceConfig"]["OutputConfig"]
    assert output["KmsKeyId"] == "alias/ocr"


def test_the_container_is_told_how_it_is_used():
    config = replace(
        with_queue(timeout_seconds=900, sources=["scans/2026"]),
        network=configured(network={"isolation": False}).network,
    )

    environment = async_endpoint_from(config, IDENTITY).model.environment

    assert environment["SERVE_USE"] == "async"
    assert environment["ASYNC_INVOCATION_TIMEOUT_SECONDS"] == "900"
    assert environment["DOCUMENT_BUCKETS"] == "exchange/async/ocr/in,scans/2026"


def test_a_container_without_network_is_named_no_bucket():
    environment = async_endpoint_from(with_queue(), IDENTITY).model.environment

    assert "DOCUMENT_BUCKETS" not in environment


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["ml.g6e.2xlarge"], 8),
        (["ml.g5.2xlarge"], 2),
        (["ml.p5.4xlarge"], 19),
        (["ml.p5.48xlarge"], 64),
        (["ml.g6e.2xlarge", "ml.g5.2xlarge"], 2),
        (["ml.new.2xlarge"], 2),
    ],
)
def test_a_machine_is_given_as_many_documents_as_it_holds_pages(kinds, expected):
    config = configured(endpoint={"instance_types": kinds})

    assert concurrency_of(config) == expected


def test_without_a_bucket_there_is_no_queue():
    with pytest.raises(ConfigError, match=r"asynchronous\.bucket is not set"):
        async_endpoint_from(configured(), IDENTITY)


def test_a_name_must_leave_room():
    with pytest.raises(ConfigError, match="at most 48 characters"):
        async_config(configured(name="a" * 49), IDENTITY)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"timeout_seconds": 3601}, "timeout_seconds must be 1 to 3600"),
        ({"idle_seconds": 240}, "idle_seconds must be 300 to 86400"),
        ({"idle_seconds": 0}, "idle_seconds must be 300 to 86400"),
        ({"min_instances": 3}, "min_instances must be 0 to max_instances"),
        ({"max_instances": 0}, "at least 1"),
        ({"bucket": "s3://exchange"}, "without s3://"),
        ({"sources": ["s3://scans"]}, "bucket or bucket/prefix"),
        ({"error_topic": "ocr"}, "are ARNs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ConfigError) as caught:
        with_queue(**settings)

    assert words in caught.value.message


# The scaling


def test_every_call_is_one_that_aws_takes(refusals):
    wanted = scaling(max_instances=7)
    endpoint = async_endpoint_from(
        with_queue(success_topic=TOPIC, error_topic=TOPIC), IDENTITY
    )
    calls = [
        wanted.target,
        *wanted.policies.values(),
        *wanted.alarms(dict.fromkeys(wanted.policies, "arn:of:it")).values(),
        *planner().deploy(endpoint, configured().update)[:2],
    ]

    assert len(calls) == 8
    assert [refusals(call) for call in calls] == [[]] * 8


def test_the_alarms_look_at_the_endpoint_alone_where_sagemaker_does():
    alarms = scaling().alarms(dict.fromkeys(scaling().policies, "arn"))
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
def test_machines_go_only_after_more_idle_time_than_the_longest_document_takes(timeout):
    wanted = scaling(timeout_seconds=timeout)
    alarms = wanted.alarms(dict.fromkeys(wanted.policies, "arn"))
    idle = alarms["ocr-async-idle"].params
    (_, period) = {m["MetricStat"]["Period"] for m in idle["Metrics"][:2]} | {0}
    tracking = wanted.policies["backlog"].params[
        "TargetTrackingScalingPolicyConfiguration"
    ]

    assert idle["EvaluationPeriods"] * 60 > timeout
    assert idle["DatapointsToAlarm"] == idle["EvaluationPeriods"]
    assert tracking["DisableScaleIn"] is True
    assert tracking["ScaleInCooldown"] > timeout
    assert period in (0, 60)


def test_what_is_there_already_is_not_made_again():
    wanted = scaling()
    subject = planner(made(wanted))

    assert subject.scale(wanted) == []
    assert subject.watch(wanted) == []


def test_only_what_differs_is_made_again():
    before, wanted = scaling(), scaling(max_instances=5, timeout_seconds=900)
    subject = planner(made(before))

    sentences = [a.sentence for a in [*subject.scale(wanted), *subject.watch(wanted)]]

    assert sentences == [
        "let endpoint ocr-async have 0 to 5 machines",
        "set scaling policy backlog of endpoint ocr-async: one more when over 5 "
        "documents wait for each",
        "set alarm ocr-async-idle: no work for 20 minutes",
    ]


def test_what_aws_adds_is_no_difference():
    assert is_within({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": 3})
    assert not is_within({"a": [{"b": 1}]}, {"a": [{"b": 2}]})
    assert not is_within({"a": [1]}, {"a": [1, 2]})
    assert not is_within({"a": 1}, None)


# The rights


def test_the_role_reads_documents_and_writes_results():
    document = execution_policy(
        with_queue(sources=["scans/2026"], error_topic=TOPIC), IDENTITY
    )
    found = {s["Sid"]: s for s in document["Statement"]}

    assert found["Documents"]["Resource"] == [
        "arn:aws:s3:::exchange/async/ocr/in/*",
        "arn:aws:s3:::scans/2026/*",
    ]
    assert found["Results"]["Resource"] == [
        "arn:aws:s3:::exchange/async/ocr/out/*",
        "arn:aws:s3:::exchange/async/ocr/failed/*",
    ]
    assert found["Topics"]["Resource"] == [TOPIC]
    assert any("Endpoints/ocr-async" in r for r in found["Logs"]["Resource"])


def test_without_a_queue_nobody_gets_its_rights():
    config = configured()

    for policy in (execution_policy, caller_policy):
        sids = {s["Sid"] for s in policy(config, IDENTITY)["Statement"]}
        assert not sids & {"Documents", "Results", "Exchange", "ScalingRole"}
    assert "ocr-async" not in json.dumps(caller_policy(config, IDENTITY))


def test_whoever_submits_may_do_all_of_it():
    found = {s["Sid"]: s for s in caller_policy(with_queue(), IDENTITY)["Statement"]}

    assert "sagemaker:InvokeEndpointAsync" in found["Endpoint"]["Action"]
    assert (
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/ocr-async"
        in (found["Endpoint"]["Resource"])
    )
    assert "application-autoscaling:PutScalingPolicy" in found["Scaling"]["Action"]
    assert found["ScalingRole"]["Action"] == ["iam:CreateServiceLinkedRole"]


# Whole commands


@pytest.fixture
def deployed(chandra, project, wire, staged):
    wire.call("s3", "create_bucket", Bucket="exchange")
    project(EXTRA)
    ran = chandra("async", "deploy")
    assert ran.status == 0, ran.err
    return ran


def test_from_nothing_to_an_endpoint_that_scales(deployed, cloud, wire):
    assert cloud.machines["ocr-async"].status == "InService"
    policies = {
        p["PolicyName"]: p["PolicyARN"]
        for p in wire.pages(
            "application-autoscaling",
            "describe_scaling_policies",
            "ScalingPolicies",
            ServiceNamespace="sagemaker",
        )
    }
    alarms = {
        a["AlarmName"]: a["AlarmActions"]
        for a in wire.pages("cloudwatch", "describe_alarms", "MetricAlarms")
    }
    assert alarms == {
        "ocr-async-wake": [policies["wake"]],
        "ocr-async-idle": [policies["idle"]],
    }
    assert "0 to 2 machines; they go after 65 minutes without work" in deployed.out


def test_twice_changes_nothing(deployed, chandra, cloud):
    cloud.calls.clear()

    ran = chandra("async", "deploy")

    assert ran.status == 0, ran.err
    assert "no changes" in ran.out
    assert cloud.changes == []


def test_other_limits_change_only_the_limits(deployed, chandra, cloud, project):
    project(EXTRA + "max_instances = 5\n")
    cloud.calls.clear()

    ran = chandra("async", "deploy")

    assert ran.status == 0, ran.err
    assert cloud.changes == ["application-autoscaling:RegisterScalableTarget"]


@pytest.mark.usefixtures("staged")
def test_a_dry_run_says_all_of_it(chandra, project, cloud):
    project(EXTRA)

    ran = chandra("async", "deploy", "--dry-run")

    assert ran.status == 0, ran.err
    assert "would create endpoint ocr-async with config ocr-async-" in ran.out
    assert "would set scaling policy wake" in ran.out
    assert "would set alarm ocr-async-idle: no work for 65 minutes" in ran.out
    assert cloud.changes == []


def test_both_endpoints_live_side_by_side_and_are_destroyed_together(
    deployed, chandra, cloud, wire
):
    chandra("deploy")
    chandra("alarms", "--create")
    wire.call("s3", "put_object", Bucket="exchange", Key="async/ocr/in/1", Body=b"1")
    wire.call("s3", "put_object", Bucket="exchange", Key="other", Body=b"2")

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert cloud.machines == {}
    assert cloud.variants == {}
    left = wire.call("cloudwatch", "describe_alarms")["MetricAlarms"]
    targets = wire.call(
        "application-autoscaling",
        "describe_scalable_targets",
        ServiceNamespace="sagemaker",
    )["ScalableTargets"]
    objects = wire.call("s3", "list_objects_v2", Bucket="exchange")["Contents"]
    assert left == targets == []
    assert [item["Key"] for item in objects] == ["other"]


def test_an_update_is_not_rolled_back_for_an_alarm_that_moves_machines(
    deployed, chandra, cloud, project
):
    project(EXTRA + "timeout_seconds = 900\n")

    ran = chandra("async", "deploy", "--dry-run", "--json")

    update = next(
        a for a in ran.json["actions"] if a.get("operation") == "update_endpoint"
    )
    assert "AutoRollbackConfiguration" not in update["params"]["DeploymentConfig"]
    assert update["params"]["RetainAllVariantProperties"] is True


@pytest.mark.usefixtures("staged")
def test_not_waited_for_it_has_no_scaling_yet_and_says_so(chandra, project, cloud):
    project(EXTRA)

    ran = chandra("async", "deploy", "--no-wait")
    again = chandra("async", "deploy")

    assert "without scaling" in ran.out
    assert again.status == 0, again.err
    assert "application-autoscaling:PutScalingPolicy" in cloud.changes


def test_the_number_of_machines_is_not_the_commands_to_say(chandra, project):
    project(EXTRA)

    ran = chandra("async", "deploy", "--instance-count", "2")

    assert ran.status == 2
    assert "min_instances and max_instances" in ran.err


@pytest.mark.usefixtures("staged")
def test_a_quota_below_max_instances_is_said(chandra, project, cloud):
    project(EXTRA)
    cloud.limits = {"ml.g6e.2xlarge": 1}

    ran = chandra("async", "deploy")

    assert ran.status == 0, ran.err
    assert "may run 1 ml.g6e.2xlarge for endpoints; 2 wanted" in ran.out
    assert "(asynchronous.max_instances)" in ran.out


def test_its_log_is_another_one(deployed, chandra, wire, at):
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
    """What SageMaker says of the queue, for the endpoint alone."""
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
def test_status_tells_of_the_queue_and_what_waits_in_it(chandra, wire, at):
    put_backlog(
        wire,
        at,
        ApproximateBacklogSize=12,
        ApproximateBacklogSizePerInstance=12,
        HasBacklogWithoutCapacity=1,
        ApproximateAgeOfOldestRequest=90,
    )

    ran = chandra("status")
    facts = chandra("status", "--json").json

    assert ran.status == 0, ran.err
    assert "there is no endpoint ocr that answers in real time" in ran.out
    assert "12 documents, 12 for each machine, the oldest for 1 min 30 s" in ran.out
    assert "documents wait and there is no machine: one is on its way" in ran.out
    assert "1 x ml.g6e.2xlarge (0 to 2)" in ran.out
    assert (facts["endpoint"], facts["status"]) == ("ocr", None)
    queue = facts["asynchronous"]
    assert (queue["endpoint"], queue["status"]) == ("ocr-async", "InService")
    assert (queue["backlog"], queue["has_backlog_without_capacity"]) == (12, 1)
    assert set(queue["alarms"]) == {"wake", "idle"}
    assert queue["price_an_hour"] == 2.80


class Closed:
    """An account in which one may not look at everything."""

    def endpoint(self, name):
        raise AccessDeniedError(f"not authorized to describe {name}")


def test_whoever_may_not_look_at_a_queue_sees_the_rest():
    context: Any = SimpleNamespace(config=configured(), account=Closed())

    assert queue_state(context) is None


@pytest.mark.usefixtures("deployed")
def test_status_says_that_metrics_of_the_queue_are_denied(chandra, intercept):
    def deny(params):
        raise AccessDeniedError("not authorized: GetMetricData", hint="iam")

    intercept("cloudwatch", "GetMetricData", deny)

    ran = chandra("status")

    assert "not known: not authorized: GetMetricData" in ran.out
    assert "CloudWatch has no number" not in ran.out


@pytest.mark.usefixtures("deployed")
def test_status_does_not_call_an_endpoint_stopped_that_is_denied(chandra, intercept):
    def deny(params):
        if params["EndpointName"] == "ocr-async":
            raise AccessDeniedError("not authorized: DescribeEndpoint", hint="iam")

    intercept("sagemaker", "DescribeEndpoint", deny)

    ran = chandra("status")

    assert "not known: not authorized: DescribeEndpoint" in ran.out
    assert "stopped" not in ran.out.partition("asynchronous")[2]


@pytest.mark.usefixtures("deployed")
def test_of_a_queue_that_says_nothing_nothing_is_made_up(chandra):
    assert "not known: CloudWatch has no number" in chandra("status").out


def test_metrics_of_the_queue_are_those_that_sagemaker_publishes_of_it(
    deployed, chandra, wire, at, service_model
):
    put_backlog(wire, at, ApproximateBacklogSize=12)
    asked = {
        "MetricDataQueries": queries("ocr-async", 60, QUEUE_METRICS),
        "StartTime": datetime.now(UTC),
        "EndTime": datetime.now(UTC),
    }
    shape = service_model("cloudwatch").operation_model("GetMetricData").input_shape

    ran = chandra("metrics", "--async")

    assert ran.status == 0, ran.err
    (row,) = (r for r in ran.out.splitlines() if r.startswith("waiting"))
    assert row.split()[1:4] == ["12", "12", "12"]
    assert "invocations" not in ran.out
    assert list(violations(shape, asked)) == []
    names = [metric.identifier for metric in QUEUE_METRICS]
    assert len({*names}) == len(names)


def test_the_queue_is_stopped_and_started_with_its_scaling(deployed, chandra, cloud):
    config = cloud.machines["ocr-async"].config

    stopped = chandra("stop", "--async")
    status = chandra("status")
    gone = dict(cloud.machines)
    alarms_between = chandra("status", "--json").json["asynchronous"]
    started = chandra("start", "--async")
    after = chandra("status", "--json").json["asynchronous"]

    assert stopped.status == started.status == 0, stopped.err + started.err
    assert "its machines cost $2.80 an hour by now" in stopped.out
    assert gone == {}
    assert "start --async brings it back" in status.out
    assert alarms_between == {
        "endpoint": "ocr-async",
        "status": None,
        "health": "stopped",
        "lost": False,
        "config": config,
    }
    assert cloud.machines["ocr-async"].config == config
    assert (after["min_instances"], after["max_instances"]) == (0, 2)
    assert set(after["alarms"]) == {"wake", "idle"}


def test_to_stop_one_endpoint_is_not_to_stop_the_other(deployed, chandra, cloud):
    ran = chandra("stop")

    assert "endpoint ocr is not running\n" in ran.out
    assert "note: endpoint ocr-async has 1 machines, $2.80 an hour" in ran.out
    assert "stop --async" not in ran.out
    assert set(cloud.machines) == {"ocr-async"}


def test_nobody_elses_queue_is_stopped(chandra, project, wire, staged, cloud):
    project(EXTRA)
    chandra("deploy")
    wire.call(
        "sagemaker",
        "create_endpoint",
        EndpointName="ocr-async",
        EndpointConfigName=cloud.machines["ocr"].config,
    )

    ran = chandra("stop", "--async")

    assert ran.status == 5
    assert set(cloud.machines) == {"ocr", "ocr-async"}


def test_started_without_waiting_it_gets_its_scaling_the_next_time(deployed, chandra):
    chandra("stop", "--async")

    quick = chandra("start", "--async", "--no-wait")
    chandra("start", "--async")

    assert "next: the same command without --no-wait, for its scaling" in quick.out
    assert chandra("status", "--json").json["asynchronous"]["max_instances"] == 2


def test_its_alarms_are_those_of_a_queue_and_are_removed_with_it(
    deployed, chandra, wire, project
):
    project(EXTRA + "wait_seconds = 7200\n")

    before = chandra("alarms", "--async")
    made = chandra("alarms", "--async", "--create", "--notify", TOPIC)
    alarms = {
        each["AlarmName"]: each
        for each in wire.pages("cloudwatch", "describe_alarms", "MetricAlarms")
    }
    destroyed = chandra("destroy")

    # Those that move its machines are there already, and not made by this command.
    assert "ocr-async-wake" in before.out
    assert made.status == 0, made.err
    suffixes = ("capacity", "disk", "errors", "failures", "idle", "oldest", "wake")
    assert sorted(alarms) == [f"ocr-async-{suffix}" for suffix in suffixes]
    oldest, errors = alarms["ocr-async-oldest"], alarms["ocr-async-errors"]
    # A queue belongs to the endpoint, an answer to the variant.
    assert [d["Name"] for d in oldest["Dimensions"]] == ["EndpointName"]
    assert [d["Name"] for d in errors["Dimensions"]] == ["EndpointName", "VariantName"]
    assert (oldest["Threshold"], oldest["AlarmActions"]) == (3600, [TOPIC])
    assert "waited for 60 minutes, half of the time" in made.out
    assert all(name in destroyed.out for name in alarms)
    assert chandra("alarms").out.startswith("there are no alarms")


def test_aws_would_take_the_alarms_and_the_dashboard_of_a_queue(refusals):
    tags = tags_of(with_queue())

    for alarm in queue_alarms(21_600):
        assert refusals(alarm.call("ocr-async", tags=tags, notify=[TOPIC])) == []
        # CloudWatch looks back a day at most.
        assert alarm.num_periods * alarm.period_seconds <= 86_400
    assert refusals(dashboard_call("ocr-async", "us-east-1", is_async=True)) == []


def test_every_metric_of_the_queue_is_drawn_by_its_own_dimensions():
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


def test_it_has_a_dashboard_of_its_own(deployed, chandra):
    assert "dashboard --async --create" in chandra("dashboard", "--async").err

    made = chandra("dashboard", "--async", "--create")

    assert "dashboards/dashboard/ocr-async" in made.out
    assert chandra("dashboard").status == 4
    assert "delete dashboard ocr-async" in chandra("destroy").out


def test_an_update_is_not_rolled_back_for_a_long_queue(
    deployed, chandra, project, cloud
):
    first = chandra("async", "deploy", "--image", OTHER_IMAGE, "--dry-run")
    chandra("alarms", "--async", "--create")
    update = chandra("async", "deploy", "--image", OTHER_IMAGE, "--dry-run")

    assert "chandra-sagemaker alarms --async --create" in first.out
    # Of errors and of the disk.
    assert "watching 2 alarms" in update.out


def test_the_queue_goes_back_to_the_config_that_was_live_before(
    deployed, chandra, cloud, at
):
    first = cloud.machines["ocr-async"].config
    at.now += 60
    chandra("async", "deploy", "--image", OTHER_IMAGE)
    second = cloud.machines["ocr-async"].config
    at.now += 60

    would = chandra("rollback", "--async", "--dry-run")
    back = chandra("rollback", "--async")
    there = cloud.machines["ocr-async"].config
    forth = chandra("rollback", "--async", "--to", second)

    assert second != first
    assert f"to {first}" in would.out
    assert back.status == forth.status == 0, back.err + forth.err
    assert there == first
    assert "the next async deploy changes nothing" in back.out
    assert cloud.machines["ocr-async"].config == second
    assert chandra("rollback").status == 4


def test_made_again_to_go_back_it_has_its_scaling_still(
    deployed, chandra, cloud, at, project, wire
):
    first = cloud.machines["ocr-async"].config
    project(EXTRA + '[update]\nstrategy = "recreate"\n')
    at.now += 60
    chandra("async", "deploy", "--image", OTHER_IMAGE)
    at.now += 60
    # As it may go with the endpoint, on AWS.
    wire.call(
        "application-autoscaling",
        "deregister_scalable_target",
        **scalable("ocr-async"),
    )

    back = chandra("rollback", "--async")

    assert back.status == 0, back.err
    queue = chandra("status", "--json").json["asynchronous"]
    assert (queue["config"], queue["max_instances"]) == (first, 2)
    assert set(queue["alarms"]) == {"wake", "idle"}


def test_its_configs_are_listed_too(deployed, chandra, cloud):
    assert cloud.machines["ocr-async"].config in chandra("list").out
