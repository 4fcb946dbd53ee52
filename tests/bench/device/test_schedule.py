"""Schedule of the items, and the results after failures."""

from __future__ import annotations

import pytest

from bench.device.schedule import OUT_OF_TIME, Item, plan_seconds, run_items
from bench.runs.records import Records

ABOUT = {"device": "d", "geometry": "g", "commit": "c"}


class Clock:
    """Clock that shows `now`, which tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeRun:
    """Run over one folder, with items that take their setup and measuring time."""

    def __init__(self, folder, budget=1000.0) -> None:
        self.clock = Clock()
        self.records = Records(folder, ABOUT, now=self.clock)
        self.measured: list[tuple[str, float]] = []
        self.budget = budget

    def item(self, name, *, setup=1.0, least=2.0, most=10.0, raises=None) -> Item:
        def measure(seconds: float) -> dict[str, float]:
            self.clock.now += setup + seconds
            self.measured.append((name, seconds))
            if raises is not None:
                raise raises
            return {"seconds": seconds}

        return Item("p", name, measure, setup, least, most)

    def run(self, *items, **options) -> bool:
        return run_items(
            items,
            self.records,
            remaining=lambda: self.budget - self.clock.now,
            clock=self.clock,
            **options,
        )

    def names(self) -> list[str]:
        return [name for name, _ in self.measured]

    def state(self, name) -> str:
        return str(self.records.items()[f"p: {name}"]["state"])


def plan_items(*least_seconds: float, remaining: float) -> dict[str, float]:
    items = [
        Item("p", str(number), lambda seconds: None, 1.0, least, 10.0)
        for number, least in enumerate(least_seconds)
    ]
    return plan_seconds(items, remaining)


def test_ample_time_gives_all_items_their_longest_duration():
    assert plan_items(2.0, 4.0, remaining=100) == {"p: 0": 10.0, "p: 1": 10.0}


def test_scarce_time_shortens_all_items_in_proportion():
    plan = plan_items(2.0, 4.0, remaining=15)

    assert plan == pytest.approx({"p: 0": 2 + 8 / 2, "p: 1": 4 + 6 / 2})


def test_the_least_important_items_are_dropped_first():
    assert list(plan_items(2.0, 2.0, 2.0, remaining=6.5)) == ["p: 0", "p: 1"]


def test_short_item_gets_time_too_short_for_a_long_one():
    assert list(plan_items(2.0, 50.0, 2.0, remaining=10)) == ["p: 0", "p: 2"]


def test_slow_setups_shorten_the_items_that_follow(tmp_path):
    run = FakeRun(tmp_path, budget=60)
    slow = Item("p", "slow", lambda seconds: setattr(run.clock, "now", 30.0), 10.0)
    after = [run.item(str(number), setup=10.0, least=5.0) for number in range(2)]

    run.run(slow, *after)

    assert run.names() == []
    assert run.records.items()["p: 0"]["why"] == OUT_OF_TIME


def test_items_dropped_for_time_are_named(tmp_path):
    run = FakeRun(tmp_path, budget=7)
    messages: list[str] = []

    run.run(*map(run.item, "abc"), tell=messages.append)

    assert run.names() == ["a", "b"]
    assert messages == [f"p: c: {OUT_OF_TIME}"]
    assert run.records.items()["p: c"]["why"] == OUT_OF_TIME


def test_an_item_that_raises_is_recorded_and_others_follow(tmp_path):
    run = FakeRun(tmp_path)

    run.run(run.item("bad", raises=RuntimeError("no kernel")), run.item("good"))

    assert run.state("bad") == "failed"
    assert "RuntimeError: no kernel" in run.records.items()["p: bad"]["why"]
    assert list(run.records.part("p")) == ["good"]


def test_killed_run_retries_its_lost_item_at_the_end(tmp_path):
    first = FakeRun(tmp_path)
    killed = first.item("b", raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        first.run(first.item("a"), killed, first.item("c"))

    second = FakeRun(tmp_path)
    second.run(*map(second.item, "abc"))

    assert second.names() == ["c", "b"]
    assert set(second.records.part("p")) == {"a", "b", "c"}


def test_item_that_killed_two_processes_is_not_retried(tmp_path):
    for _ in range(2):
        run = FakeRun(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            run.run(run.item("bad", raises=KeyboardInterrupt()))

    last = FakeRun(tmp_path)
    last.run(last.item("bad"), last.item("good"))

    assert last.names() == ["good"]
    assert last.state("bad") == "running"


def test_interrupted_item_does_not_count_as_attempted(tmp_path):
    for _ in range(3):
        run = FakeRun(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            run.run(run.item("long", raises=KeyboardInterrupt()))
        run.records.interrupt("interrupted")

    assert run.state("long") == "out of time"
    assert run.records.attempts("p", "long") == 0


def test_items_not_reached_are_recorded_as_out_of_time(tmp_path):
    run = FakeRun(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.run(run.item("a", raises=KeyboardInterrupt()), run.item("b"))

    before = run.state("b")
    run.records.interrupt(OUT_OF_TIME)

    assert before == "open"
    assert run.records.items()["p: b"] == {"state": "out of time", "why": OUT_OF_TIME}


def test_a_lost_device_ends_the_process(tmp_path):
    run = FakeRun(tmp_path)

    is_usable = run.run(
        run.item("bad", raises=RuntimeError("illegal memory access")),
        run.item("good"),
        is_usable=lambda: False,
    )

    assert not is_usable
    assert run.names() == ["bad"]


def test_a_refused_item_keeps_the_reason(tmp_path):
    run = FakeRun(tmp_path)

    run.run(run.item("a"), refusal=lambda item: "the operator is wrong")

    assert run.names() == []
    assert run.records.items()["p: a"]["why"] == "the operator is wrong"


def test_an_item_past_its_limit_is_overdue(tmp_path):
    clock = Clock()
    records = Records(tmp_path, ABOUT, now=clock)
    records.begin("p", "a", limit_seconds=5)

    clock.now = 4
    before = records.overdue_seconds()
    clock.now = 7
    after = Records.open(records.path)

    assert before == 0
    assert after.num_begun() == 1
    assert records.overdue_seconds() == 2
