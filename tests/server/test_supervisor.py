"""Supervisor of a server, with a fake server and clock."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from server.output import EventWriter
from server.supervisor import GRACE_SECONDS, StopRequests, Supervisor

DRAIN_SECONDS = 20
READY = {"state": "ready", "worker": "7", "open": "0", "drains": "no"}


class World:
    """Fake server and clock with scheduled events. Time passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_running = True
        self.failure: str | None = None
        self.worker_state: dict[str, str] = dict(READY)
        self.alive = {"7"}
        self.drained: list[float] = []
        self.num_stops = 0
        self.num_arriving = 0
        self.stops = StopRequests()
        self.lines: list[str] = []
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def at(self, seconds: float, happens: Callable[[], None]) -> None:
        self._plans.append((seconds, happens))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 100, "it would never end"
        due = [plan for plan in self._plans if plan[0] <= self.now]
        for plan in due:
            self._plans.remove(plan)
            plan[1]()

    def read_state(self) -> dict[str, str]:
        return self.worker_state

    def count_open_requests(self) -> int:
        return self.num_arriving

    def drain(self, seconds: float) -> None:
        self.drained.append(seconds)
        self.worker_state = self.worker_state | {"drains": "yes"}

    def stop(self, timeout_seconds: float) -> None:
        self.num_stops += 1
        self.is_running = False

    def describe_exit(self) -> str:
        return "TorchServe was ended by SIGKILL"

    def run(self) -> int:
        supervisor = Supervisor(
            self,
            EventWriter(self.lines.append),
            self.stops,
            DRAIN_SECONDS,
            clock=lambda: self.now,
            sleep=self.sleep,
            is_alive=lambda pid: pid in self.alive,
        )
        return supervisor.run()

    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines]

    def ends(self) -> None:
        self.is_running = False

    def opens(self, number: int) -> Callable[[], None]:
        def happen() -> None:
            self.worker_state = self.worker_state | {"open": str(number)}

        return happen


@pytest.fixture
def world():
    return World()


def test_signal_without_open_requests_stops_at_once(world):
    world.at(5, world.stops.add)

    assert world.run() == 0
    assert world.now < 8
    assert world.num_stops == 1
    assert world.events[-1]["event"] == "stop"


def test_drain_waits_for_open_requests(world):
    world.opens(2)()
    world.at(1, world.stops.add)
    world.at(10, world.opens(0))

    assert world.run() == 0
    assert 10 < world.now < 13
    assert world.drained == [DRAIN_SECONDS]
    assert world.events[-1]["unanswered"] == 0


def test_drain_waits_for_uploads(world):
    def has_arrived() -> None:
        world.num_arriving = 0

    world.num_arriving = 1
    world.at(1, world.stops.add)
    world.at(6, has_arrived)

    assert world.run() == 0
    assert 6 < world.now < 9


def test_drain_ends_soon_after_its_deadline_with_a_request_open(world):
    world.opens(1)()
    world.at(1, world.stops.add)

    assert world.run() == 0
    assert 1 + DRAIN_SECONDS < world.now < 1 + DRAIN_SECONDS + GRACE_SECONDS + 1
    assert world.events[-1]["unanswered"] == 1


def test_drain_that_cannot_be_sent_is_still_waited_for(world):
    def fail(seconds: float) -> None:
        raise OSError("No space left on device")

    world.drain = fail
    world.opens(1)()
    world.at(1, world.stops.add)

    assert world.run() == 0
    assert world.now > DRAIN_SECONDS
    assert [event["event"] for event in world.events][:2] == ["drain", "drain not told"]


def test_second_signal_shortens_the_drain(world):
    world.opens(1)()
    world.at(1, world.stops.add)
    world.at(3, world.stops.add)

    assert world.run() == 0
    assert world.drained == [DRAIN_SECONDS, 0]
    assert world.now < 3 + GRACE_SECONDS + 1


def test_worker_that_has_not_seen_the_drain_is_waited_for(world):
    def deaf(seconds: float) -> None:
        world.drained.append(seconds)

    world.drain = deaf
    world.at(1, world.stops.add)

    world.run()

    assert world.now > DRAIN_SECONDS


@pytest.mark.parametrize("worker_state", [{}, READY | {"state": "starting"}])
def test_loading_server_is_stopped_without_a_drain(world, worker_state):
    world.worker_state = worker_state
    world.at(1, world.stops.add)

    assert world.run() == 0
    assert world.now < 4


def test_crash_is_an_error_with_its_reason_in_the_last_event(world):
    world.at(5, world.ends)

    assert world.run() == 1
    assert [event["event"] for event in world.events] == ["crash", "stop"]
    assert world.events[-1]["reason"] == "TorchServe was ended by SIGKILL"


def test_crash_during_a_drain_is_an_error(world):
    world.opens(1)()
    world.at(1, world.stops.add)
    world.at(2, world.ends)

    assert world.run() == 1


def test_model_that_cannot_be_loaded_stops_the_server(world):
    world.worker_state = {"state": "starting", "worker": "7"}

    def fail() -> None:
        world.failure = "MODEL_DIR is /nothing, which holds no config.json"

    world.at(3, fail)

    assert world.run() == 1
    assert world.num_stops == 1
    assert world.events[-1]["reason"] == world.failure


def test_failed_reload_does_not_stop_the_server(world):
    def fail() -> None:
        world.failure = "the weights are gone"

    world.at(3, fail)
    world.at(60, world.stops.add)

    assert world.run() == 0


def test_dead_worker_is_reported_once(world):
    def die() -> None:
        world.alive.clear()

    world.at(3, die)
    world.at(20, world.stops.add)

    world.run()

    crashes = [event for event in world.events if event["event"] == "crash"]
    assert [(crash["what"], crash["pid"]) for crash in crashes] == [("worker", 7)]
