"""Simulation of autoscaling: costs, and documents cut off by scale-in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.autoscaling import (
    BLIND,
    CHOSEN,
    SHORT,
    SOON,
    TABLE,
    TRACKING,
    machine_of,
    main,
    policies,
    run,
)
from bench.fleet import (
    DELAY_MINUTES,
    MINUTE,
    Document,
    Machine,
    documents_of_a_day,
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
    machine, _ = machine_of("ml.g6e.2xlarge", tmp_path_factory.mktemp("none"))
    return run(machine, policies(), SEEDS)


def cut(played):
    return [d for day in played for d in day.documents if d.cut is not None]


def test_deployed_scale_in_policy_interrupts_no_document(days):
    assert cut(days[CHOSEN]) == []
    assert all(day.num_late == 0 for day in days[CHOSEN])
    assert max(day.longest_reading() for day in days[CHOSEN]) < TABLE.timeout_seconds


@pytest.mark.parametrize("name", [TRACKING, SHORT, BLIND])
def test_policies_without_a_part_interrupt_documents(days, name):
    """Check that the test above can fail: without a part, documents are cut off."""
    assert len(cut(days[name])) > 5


def test_only_documents_within_cloudwatchs_delay_are_cut_off(tmp_path):
    """Only CloudWatch's delay of a minute remains, even with a short idle time."""
    machine, _ = machine_of("ml.g6e.2xlarge", tmp_path)
    chosen = {name: policies()[name] for name in (CHOSEN, SOON)}

    played = run(machine, chosen, range(100, 115))

    for num_cut in map(cut, played.values()):
        ages = [(d.cut or 0) - (d.started or 0) for d in num_cut]
        assert all(age <= (DELAY_MINUTES + 1) * MINUTE for age in ages)


def test_less_idle_time_costs_less(days):
    def cost(name):
        return sum(day.cost[-1] for day in days[name])

    assert cost(SOON) < 0.6 * cost(CHOSEN)


def test_simulated_policy_is_the_deployed_one():
    table = AsynchronousTable(bucket="b", max_instances=3, timeout_seconds=900)
    scaling = Scaling.from_table("ocr-async", table, {})
    tracking = scaling.policies["backlog"].params[
        "TargetTrackingScalingPolicyConfiguration"
    ]
    idle = scaling.alarms(dict.fromkeys(scaling.policies, "arn"))["ocr-async-idle"]

    policy = policies(table)[CHOSEN]

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
    day = simulate_day([], MACHINE, policies()[CHOSEN])

    assert day.cost[-1] == 0


def test_one_document_starts_one_machine_which_then_stops():
    day = simulate_day([Document(3600, 40)], MACHINE, policies()[CHOSEN])

    (document,) = day.documents
    assert document.started is not None
    assert document.finished is not None
    # Two datapoints, a minute of delay, and the start of the machine.
    assert 480 + 120 <= document.started - 3600 <= 480 + 300
    assert document.finished - document.started == pytest.approx(40 / 0.4, abs=60)
    assert max(day.ordered) == 1
    assert day.ordered[-1] == 0
    assert day.cost[-1] == pytest.approx(3.0 * (480 + 100 + 65 * 60) / 3600, rel=0.1)


def test_burst_gets_at_most_the_allowed_machines():
    burst = [Document(3600, 20) for _ in range(200)]
    policy = policies()[CHOSEN]

    day = simulate_day(burst, MACHINE, policy)

    assert max(day.ordered) == policy.max_machines
    assert day.num_late == 0


def test_pages_that_are_read_together_share_the_machine():
    alone = simulate_day([Document(0, 1)], MACHINE, warm())
    many = simulate_day([Document(0, 1) for _ in range(8)], MACHINE, warm())
    long = simulate_day([Document(0, 100)], MACHINE, warm())

    assert alone.longest_reading() == pytest.approx(1 / 0.04, abs=20)
    assert many.longest_reading() == pytest.approx(1 / 0.04, abs=20)
    assert long.longest_reading() == pytest.approx(100 / 0.4, abs=60)


def warm():
    return replace(policies()[CHOSEN], min_machines=1)


def test_the_same_seed_gives_the_same_documents():
    assert documents_of_a_day(7) == documents_of_a_day(7)
    assert documents_of_a_day(7) != documents_of_a_day(8)


def test_last_line_is_marked_as_a_simulation(tmp_path, capsys):
    main(["--days", "1", "--plot", str(tmp_path / "a.png"), "--results",
          str(tmp_path)])  # fmt: skip

    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["bench"] == "autoscaling"
    assert last["is_simulation"] is True
    assert last["measured_in"] is None
    assert last["ratios"]["cut_off_as_deployed"] == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000
