"""An endpoint that runs: changed, watched, put back, run by the clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from deploy.aws.validation import violations
from deploy.machines.throughput import ESTIMATE_NOTE, ESTIMATES
from deploy.monitoring import ALARMS, METRICS, dashboard_call, queries
from deploy.resources import tags_of
from tests.deploy.accounts import OTHER_IMAGE, configured

pytestmark = pytest.mark.usefixtures("staged")

GROUP = "/aws/sagemaker/Endpoints/ocr"


def test_an_update_to_other_machines_moves_the_endpoint(chandra, cloud):
    chandra("deploy")

    ran = chandra("update", "--instance-type", "ml.g5.2xlarge", "--env", "A=1")

    assert ran.status == 0, ran.err
    variant = cloud.variants[cloud.machines["ocr"].config][0]
    assert variant["InstanceType"] == "ml.g5.2xlarge"
    assert "chandra.toml still says otherwise" in ran.out


def test_where_quota_allows_one_machine_it_is_made_again(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 1}
    chandra("deploy")

    beside = chandra("update", "--image", OTHER_IMAGE)
    after = chandra("update", "--image", OTHER_IMAGE, "--strategy", "recreate")

    assert beside.status == 6
    assert "service limit" in beside.err
    assert after.status == 0, after.err
    assert cloud.machines["ocr"].status == "InService"


@pytest.mark.parametrize("command", ["deploy", "update"])
def test_a_serving_endpoint_is_deleted_only_after_a_yes(
    chandra, cloud, project, command
):
    chandra("deploy")
    project('[update]\nstrategy = "recreate"\n', image=OTHER_IMAGE)

    ran = chandra(command, yes=False)

    assert ran.status == 2
    assert "add --yes" in ran.err
    assert cloud.machines["ocr"].status == "InService"


def test_an_update_says_that_it_takes_twice_the_machines(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 1}
    chandra("deploy")

    ran = chandra("update", "--image", OTHER_IMAGE, "--dry-run")

    assert ran.status == 0, ran.err
    assert "may run 1 ml.g6e.2xlarge for endpoints; 2 wanted while the new" in ran.out
    assert "try: chandra-sagemaker update --strategy recreate" in ran.out


def test_there_is_nothing_to_update_before_a_deploy(chandra):
    ran = chandra("update", "--instance-count", "2")

    assert ran.status == 4
    assert "try:   chandra-sagemaker deploy" in ran.err


def test_what_was_never_there_is_not_made_by_an_update(chandra, cloud):
    ran = chandra("update", "--instance-count", "2", "--strategy", "recreate")

    assert ran.status == 4
    assert cloud.changes == []


def test_an_update_watches_the_alarms_that_were_made(chandra, cloud):
    chandra("deploy")
    chandra("alarms", "--create")

    ran = chandra("update", "--image", OTHER_IMAGE, "--dry-run")

    assert f"watching {len(ALARMS)} alarms" in ran.out
    assert "there are no alarms" not in ran.out


def test_an_update_that_no_alarm_watches_says_so(chandra, project):
    first = chandra("deploy")
    update = ("update", "--image", OTHER_IMAGE, "--dry-run")
    unwatched = chandra(*update)
    project("[update]\nuse_alarms = false\n")
    on_purpose = chandra(*update)

    assert "note: there are no alarms" in unwatched.out
    assert "chandra-sagemaker alarms --create" in unwatched.out
    assert "no alarms" not in first.out + on_purpose.out


def test_rolled_back_it_serves_what_it_served_before(chandra, cloud, project, at):
    chandra("deploy")
    first = cloud.machines["ocr"].config
    project(image=OTHER_IMAGE)
    at.now += 60
    chandra("deploy")
    second = cloud.machines["ocr"].config

    at.now += 60
    back = chandra("rollback")
    there = cloud.machines["ocr"].config
    at.now += 60
    forth = chandra("rollback", "--to", second)

    assert back.status == forth.status == 0, back.err + forth.err
    assert there == first
    assert cloud.machines["ocr"].config == second
    assert "the next deploy goes forward" in back.out


def test_after_one_deployment_there_is_nothing_to_go_back_to(chandra):
    chandra("deploy")

    assert chandra("rollback").status == 4
    assert chandra("rollback", "--to", "ocr-00000000").status == 4


def write_logs(wire, at, **streams):
    wire.call("logs", "create_log_group", logGroupName=GROUP)
    for stream, lines in streams.items():
        wire.call(
            "logs",
            "create_log_stream",
            logGroupName=GROUP,
            logStreamName=f"AllTraffic/{stream}",
        )
        wire.call(
            "logs",
            "put_log_events",
            logGroupName=GROUP,
            logStreamName=f"AllTraffic/{stream}",
            logEvents=[
                {"timestamp": int((at.now - before) * 1000), "message": text}
                for before, text in lines
            ],
        )


def test_logs_of_all_streams_come_in_order(chandra, wire, at):
    write_logs(wire, at, one=[(30, "first"), (10, "third")], two=[(20, "second")])

    lines = chandra("logs").out.splitlines()

    assert [line.split()[-2:] for line in lines] == [
        ["one", "first"],
        ["two", "second"],
        ["one", "third"],
    ]


def test_logs_can_be_narrowed(chandra, wire, at):
    write_logs(
        wire,
        at,
        one=[(7200, "old Error"), (30, "an ERROR"), (20, "page read"), (10, "fine")],
    )

    errors = chandra("logs", "--errors").out.splitlines()
    found = chandra("logs", "--search", "PAGE").out.splitlines()
    older = chandra("logs", "--errors", "--since", "3h").out.splitlines()

    assert [line.split()[-1] for line in errors] == ["ERROR"]
    assert [line.split()[-1] for line in found] == ["read"]
    assert len(older) == 2


def test_followed_logs_show_each_line_once(chandra, wire, at):
    write_logs(wire, at, one=[(30, "first")])
    rounds = []

    def sleep(seconds):
        rounds.append(seconds)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        wire.call(
            "logs",
            "put_log_events",
            logGroupName=GROUP,
            logStreamName="AllTraffic/one",
            logEvents=[
                {"timestamp": int(at.now * 1000), "message": f"round {len(rounds)}"}
            ],
        )

    ran = chandra("logs", "-f", sleep=sleep)

    assert ran.status == 130
    assert [line.split(maxsplit=2)[2] for line in ran.out.splitlines()] == [
        "first",
        "round 1",
        "round 2",
    ]


def test_followed_logs_are_one_value_for_a_program(chandra, wire, at):
    write_logs(wire, at, one=[(30, "first")])

    def interrupt(seconds):
        raise KeyboardInterrupt

    ran = chandra("logs", "-f", "--json", sleep=interrupt)

    assert ran.status == 130
    assert [event["message"] for event in ran.json] == ["first"]


def test_an_endpoint_that_never_ran_has_no_log(chandra):
    ran = chandra("logs")

    assert ran.status == 0
    assert "no lines" in ran.out


def test_what_is_asked_of_cloudwatch_is_valid(service_model, refusals):
    cloudwatch = service_model("cloudwatch")
    asked = {
        "MetricDataQueries": queries("ocr", 60),
        "StartTime": datetime.now(UTC),
        "EndTime": datetime.now(UTC),
    }
    shape = cloudwatch.operation_model("GetMetricData").input_shape
    tags = tags_of(configured())

    assert list(violations(shape, asked)) == []
    assert len({metric.identifier for metric in METRICS}) == len(METRICS)
    for alarm in ALARMS:
        assert refusals(alarm.call("ocr", tags=tags, notify=["arn:aws:sns:::t"])) == []
    assert refusals(dashboard_call("ocr", "us-east-1")) == []


def test_alarms_are_made_shown_and_removed(chandra):
    before = chandra("alarms")
    would = chandra("alarms", "--create", "--dry-run")
    made = chandra("alarms", "--create")
    destroyed = chandra("destroy")
    after = chandra("alarms")

    assert "there are no alarms" in before.out
    assert all(line.startswith("would set alarm ") for line in would.out.splitlines())
    assert [row.split()[0] for row in made.out.splitlines()[-3:]] == [
        "ocr-disk",
        "ocr-errors",
        "ocr-latency",
    ]
    assert "delete alarms ocr-disk, ocr-errors, ocr-latency" in destroyed.out
    assert "there are no alarms" in after.out


def test_a_dashboard_is_made_and_found(chandra):
    assert chandra("dashboard").status == 4

    made = chandra("dashboard", "--create")

    assert "dashboards/dashboard/ocr" in made.out
    assert chandra("dashboard").out == made.out.partition("\n")[2]
    assert "delete dashboard ocr" in chandra("destroy").out
    assert chandra("dashboard").status == 4


def test_a_dashboard_that_is_not_ours_is_left_alone(chandra, wire):
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
def test_what_is_not_ours_is_not_overwritten(
    chandra, wire, cloud, command, operation, params
):
    wire.call("cloudwatch", operation, **params)
    cloud.calls.clear()

    ran = chandra(command, "--create")

    assert ran.status == 5
    assert "not this deployment's" in ran.err
    assert cloud.changes == []


def test_every_graph_of_the_dashboard_shows_metrics_of_the_table():
    body = json.loads(dashboard_call("ocr", "us-east-1").params["DashboardBody"])
    drawn = [
        (line[0], line[1], line[-1]["stat"])
        for widget in body["widgets"]
        for line in widget["properties"].get("metrics", ())
    ]

    assert sorted(drawn) == sorted((m.namespace, m.name, m.statistic) for m in METRICS)


SCHEDULE = (
    "schedule",
    "--start",
    "08:00",
    "--stop",
    "19:00",
    "--timezone",
    "Asia/Tokyo",
)


@pytest.fixture
def scheduler_role(wire):
    wire.call(
        "iam", "create_role", RoleName="ocr-scheduler", AssumeRolePolicyDocument="{}"
    )


def test_a_schedule_starts_what_is_live_and_follows_it(
    chandra, wire, cloud, project, scheduler_role
):
    chandra("deploy")
    made = chandra(*SCHEDULE)
    project(image=OTHER_IMAGE)
    chandra("deploy")

    entry = wire.call("scheduler", "get_schedule", GroupName="ocr", Name="ocr-start")

    assert made.status == 0, made.err
    assert "runs 55 of 168 hours a week" in made.out
    assert "67% less" in made.out
    target = json.loads(entry["Target"]["Input"])
    assert target["EndpointConfigName"] == cloud.machines["ocr"].config


def test_stopped_by_hand_the_schedule_is_named_that_starts_it(
    chandra, cloud, scheduler_role
):
    chandra("deploy")
    chandra(*SCHEDULE)

    ran = chandra("stop")

    assert "note: the schedule starts it again, cron(0 8 ?" in ran.out
    assert "schedule --remove" in ran.out


def test_a_schedule_is_shown_changed_and_removed(chandra, scheduler_role):
    chandra("deploy")
    chandra(*SCHEDULE)
    changed = chandra(*SCHEDULE, "--days", "sat")
    shown = chandra("schedule")
    removed = chandra("schedule", "--remove")

    assert changed.status == 0, changed.err
    assert "cron(0 8 ? * SAT *)" in shown.out
    assert removed.status == 0
    assert "there is no schedule" in chandra("schedule").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--remove", "--start", "8:00"], "--remove goes without --start"),
        (["--days", "sat"], "--start and --stop go together, and --days with both"),
        (["--stop", "19:00"], "--start and --stop go together"),
    ],
)
def test_no_flag_of_a_schedule_is_passed_over(
    chandra, cloud, scheduler_role, arguments, message
):
    chandra("deploy")
    chandra(*SCHEDULE)
    cloud.calls.clear()

    ran = chandra("schedule", *arguments)

    assert ran.status == 2
    assert message in ran.err
    assert cloud.changes == []


def test_a_schedule_that_is_not_there_is_not_said_to_be_removed(
    chandra, cloud, scheduler_role
):
    chandra("deploy")
    never = chandra("schedule", "--remove")
    chandra(*SCHEDULE)
    would = chandra("schedule", "--remove", "--dry-run")
    chandra("schedule", "--remove")
    again = chandra("schedule", "--remove")

    assert would.out.splitlines() == [
        "would delete schedule ocr-start",
        "would delete schedule ocr-stop",
    ]
    assert (
        never.out == again.out == "there is no schedule: it runs until it is stopped\n"
    )


def test_destroy_takes_the_schedule_first(chandra, scheduler_role):
    chandra("deploy")
    chandra(*SCHEDULE)

    ran = chandra("destroy", "--dry-run")

    assert ran.out.splitlines()[0] == (
        "would delete schedule group ocr and its entries"
    )


def test_a_schedule_needs_a_role_and_says_which_command_makes_it(chandra):
    chandra("deploy")

    ran = chandra(*SCHEDULE)

    assert ran.status == 4
    assert "iam --create" in ran.err


def test_cost_says_that_estimates_are_estimates(chandra, cloud):
    ran = chandra("cost", "--pages-a-day", "5000")

    assert ran.status == 0, ran.err
    assert "estimates, not measurements" in ran.out
    assert "measured" not in ran.out.replace("estimates, not measurements", "")
    assert "ml.g4dn" not in ran.out
    assert "prices: on demand in us-east-1, September 2026" in ran.out
    assert cloud.calls == []


def test_what_is_stopped_at_night_already_saves_nothing_by_being_stopped(chandra):
    always = chandra("cost")
    by_day = chandra("cost", "--hours-a-day", "8")

    assert "stopping ml.g6.xlarge from 19:00 to 08:00 saves" in always.out
    assert "stopping" not in by_day.out


def test_every_price_says_where_and_when_it_holds(chandra, scheduler_role):
    """They are those of one region, and no price list was asked."""
    note = "on demand in us-east-1, September 2026; other regions differ"
    told = [
        chandra("plan"),
        chandra("deploy"),
        chandra(*SCHEDULE),
        chandra("cost"),
        chandra("stop"),
    ]

    assert [ran.out for ran in told if note not in ran.out] == []
    assert note == chandra("plan", "--json").json["price_note"]
    assert note == chandra("cost", "--json").json["prices"]


def test_a_measurement_takes_the_place_of_an_estimate(chandra, tmp_path):
    (tmp_path / "l40s.json").write_text(
        json.dumps(
            {"device": "NVIDIA L40S", "geometry": "chandra", "pages_per_second": 0.5}
        )
    )
    folder = str(tmp_path)

    ran = chandra(
        "cost", "--instance-type", "ml.g6e.2xlarge", "--results", folder, "--json"
    ).json

    offers = ran["offers"]
    assert offers[0]["measured_in"].endswith("l40s.json")
    assert offers[0]["together"]["pages_an_hour"] == 1800
    # Nobody has measured one page at a time.
    assert [offers[0][kind]["is_measured"] for kind in ("single", "together")] == [
        False,
        True,
    ]
    assert offers[0]["single"]["pages_an_hour"] == 3600 * ESTIMATES["L40S"].single
    assert ran["note"] == ESTIMATE_NOTE


def test_what_was_measured_in_both_ways_needs_no_word_about_estimates(
    chandra, tmp_path
):
    (tmp_path / "l40s.json").write_text(
        '{"device": "NVIDIA L40S", "geometry": "chandra", "pages_per_second": 0.5, '
        '"pages_per_second_single": 0.04}'
    )
    arguments = ["--instance-type", "ml.g6e.2xlarge", "--results", str(tmp_path)]

    ran = chandra("cost", *arguments)

    assert "estimate" not in ran.out
    assert chandra("cost", *arguments, "--json").json["note"] is None


def test_enough_machines_are_counted_for_the_hours_there_are(chandra):
    offer = chandra(
        "cost",
        "--pages-a-day",
        "10000",
        "--hours-a-day",
        "10",
        "--instance-type",
        "ml.g6e.2xlarge",
        "--json",
    ).json["offers"][0]

    a_machine = ESTIMATES["L40S"].single * 36_000
    assert offer["single"]["machines"] == int(10_000 / a_machine) + 1
    assert offer["single"]["a_day"] == pytest.approx(offer["single"]["machines"] * 28.0)


def test_cost_says_why_it_leaves_a_machine_out(chandra, cloud):
    ran = chandra("cost", "--instance-type", "ml.g4dn.2xlarge")
    among = chandra(
        "cost", "--instance-type", "ml.g5.2xlarge", "--instance-type", "ml.g9.huge"
    )

    assert ran.status == 2
    assert "has a T4 with 16 GB" in ran.err
    assert among.status == 0
    assert "note: nothing is known of ml.g9.huge" in among.err


@pytest.mark.parametrize("text", ["0s", "99999999999d", "2 weeks"])
def test_an_age_that_no_clock_has_is_refused(chandra, cloud, text):
    ran = chandra("logs", "--since", text)

    assert ran.status == 2
    assert "an age" in ran.err
