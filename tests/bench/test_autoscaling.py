"""Simulation of autoscaling: costs, and documents cut off by scale-in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.autoscaling import (
    AS_DEPLOYED,
    EMPTY_15_MINUTES,
    IDLE_10_MINUTES,
    IGNORES_GPUS,
    TABLE,
    TRACKING,
    load_machine,
    main,
    make_policies,
    simulate_policies,
)
from bench.fleet import (
    DELAY_MINUTES,
    MINUTE,
    Machine,
    SimulatedDocument,
    make_documents_of_a_day,
    simulate_day,
)
from deploy.config import AsynchronousTable
from deploy.queue.scaling import Scaling

MACHINE = Machine(
    single=0.04, together=0.4, concurrency=8, start_seconds=480, price=3.0
)
SEEDS = range(5)


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    machine, _ = load_machine("ml.g6e.2xlarge", tmp_path_factory.mktemp("none"))
    return simulate_policies(machine, make_policies(), SEEDS)


def find_cut_documents(days_of_policy):
    return [d for day in days_of_policy for d in day.documents if d.cut is not None]


def test_deployed_scale_in_policy_interrupts_no_document(days):
    assert find_cut_documents(days[AS_DEPLOYED]) == []
    assert all(day.num_late == 0 for day in days[AS_DEPLOYED])
    assert (
        max(day.longest_reading() for day in days[AS_DEPLOYED]) < TABLE.timeout_seconds
    )


@pytest.mark.parametrize("name", [TRACKING, EMPTY_15_MINUTES, IGNORES_GPUS])
def test_alternative_policies_interrupt_documents(days, name):
    """Show that the test of the deployed policy can fail."""
    assert len(find_cut_documents(days[name])) > 5


def test_only_documents_within_cloudwatchs_delay_are_cut_off(tmp_path):
    """A datapoint's own minute and CloudWatch's delay remain, even if idle briefly."""
    machine, _ = load_machine("ml.g6e.2xlarge", tmp_path)
    two_policies = {
        name: make_policies()[name] for name in (AS_DEPLOYED, IDLE_10_MINUTES)
    }

    days_of_policy = simulate_policies(machine, two_policies, range(100, 115))

    for cut_documents in map(find_cut_documents, days_of_policy.values()):
        ages = [(d.cut or 0) - (d.started or 0) for d in cut_documents]
        assert all(age <= (DELAY_MINUTES + 1) * MINUTE for age in ages)


def test_less_idle_time_costs_less(days):
    def cost(name):
        return sum(day.cost[-1] for day in days[name])

    assert cost(IDLE_10_MINUTES) < 0.6 * cost(AS_DEPLOYED)


def test_simulated_policy_is_the_deployed_one():
    table = AsynchronousTable(bucket="b", max_instances=3, timeout_seconds=900)
    scaling = Scaling.from_table("ocr-async", table, {})
    tracking = scaling.policies["backlog"].params[
        "TargetTrackingScalingPolicyConfiguration"
    ]
    idle = scaling.alarms(dict.fromkeys(scaling.policies, "arn"))["ocr-async-idle"]

    policy = make_policies(table)[AS_DEPLOYED]

    assert policy.target == tracking["TargetValue"]
    assert policy.scale_out_seconds == tracking["ScaleOutCooldown"]
    assert policy.tracks_down is not tracking["DisableScaleIn"]
    assert policy.idle_minutes == idle.params["EvaluationPeriods"]
    assert policy.max_machines == scaling.max_instances
    names = {
        m["MetricStat"]["Metric"]["MetricName"] for m in idle.params["Metrics"][:2]
    }
    assert policy.sees_gpus is ("GPUUtilization" in names)


def test_day_without_documents_costs_nothing():
    day = simulate_day([], MACHINE, make_policies()[AS_DEPLOYED])

    assert day.cost[-1] == 0


def test_one_document_starts_one_machine_which_then_stops():
    day = simulate_day(
        [SimulatedDocument(3600, 40)], MACHINE, make_policies()[AS_DEPLOYED]
    )

    (document,) = day.documents
    assert document.started is not None
    assert document.finished is not None
    # Two datapoints, a minute of delay, and the start of the machine.
    assert 480 + 120 <= document.started - 3600 <= 480 + 300
    assert document.finished - document.started == pytest.approx(40 / 0.4, abs=60)
    assert max(day.ordered) == 1
    assert day.ordered[-1] == 0
    # The start, the reading, and the idle time of 65 minutes.
    assert day.cost[-1] == pytest.approx(3.0 * (480 + 100 + 65 * 60) / 3600, rel=0.1)


def test_burst_gets_at_most_the_allowed_machines():
    burst = [SimulatedDocument(3600, 20) for _ in range(200)]
    policy = make_policies()[AS_DEPLOYED]

    day = simulate_day(burst, MACHINE, policy)

    assert max(day.ordered) == policy.max_machines
    assert day.num_late == 0


def test_pages_that_are_read_together_share_the_machine():
    one_page = simulate_day(
        [SimulatedDocument(0, 1)], MACHINE, policy_with_a_warm_machine()
    )
    eight_pages = simulate_day(
        [SimulatedDocument(0, 1) for _ in range(8)],
        MACHINE,
        policy_with_a_warm_machine(),
    )
    long_document = simulate_day(
        [SimulatedDocument(0, 100)], MACHINE, policy_with_a_warm_machine()
    )

    assert one_page.longest_reading() == pytest.approx(1 / 0.04, abs=20)
    assert eight_pages.longest_reading() == pytest.approx(1 / 0.04, abs=20)
    assert long_document.longest_reading() == pytest.approx(100 / 0.4, abs=60)


def policy_with_a_warm_machine():
    return replace(make_policies()[AS_DEPLOYED], min_machines=1)


def test_the_same_seed_gives_the_same_documents():
    assert make_documents_of_a_day(7) == make_documents_of_a_day(7)
    assert make_documents_of_a_day(7) != make_documents_of_a_day(8)


def test_last_line_is_marked_as_a_simulation(tmp_path, capsys):
    main(["--days", "1", "--plot", str(tmp_path / "a.png"), "--results",
          str(tmp_path)])  # fmt: skip

    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["bench"] == "autoscaling"
    assert last["is_simulation"] is True
    assert last["measured_in"] is None
    assert last["ratios"]["cut_off_as_deployed"] == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000
