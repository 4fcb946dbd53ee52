"""Supervisor of a server, with a fake server and clock."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from server.output import EventWriter
from server.supervisor import GRACE_SECONDS, StopRequests, Supervisor

DRAIN_SECONDS = 20
READY = {"state": "ready", "worker": "7", "open": "0", "drains": "no"}


class FakeServer:
    """Fake server with a clock and scheduled actions. Time passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_running = True
        self.failure: str | None = None
        self.worker_state: dict[str, str] = dict(READY)
        self.alive = {"7"}
        self.drained: list[float] = []
        self.num_stops = 0
        self.num_uploads = 0
        self.stops = StopRequests()
        self.lines: list[str] = []
        self._scheduled: list[tuple[float, Callable[[], None]]] = []

    def schedule(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` once the clock has reached this time."""
        self._scheduled.append((seconds, action))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 100, "it would never end"
        due = [entry for entry in self._scheduled if entry[0] <= self.now]
        for entry in due:
            self._scheduled.remove(entry)
            entry[1]()

    def read_state(self) -> dict[str, str]:
        return self.worker_state

    def count_open_requests(self) -> int:
        return self.num_uploads

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

    def crash(self) -> None:
        self.is_running = False

    def set_open_requests(self, number: int) -> Callable[[], None]:
        """Return an action that sets the number of open requests."""

        def change_state() -> None:
            self.worker_state = self.worker_state | {"open": str(number)}

        return change_state


@pytest.fixture
def server():
    return FakeServer()


def test_signal_without_open_requests_stops_at_once(server):
    server.schedule(5, server.stops.add)

    assert server.run() == 0
    assert server.now < 8
    assert server.num_stops == 1
    assert server.events[-1]["event"] == "stop"


def test_drain_waits_for_open_requests(server):
    server.set_open_requests(2)()
    server.schedule(1, server.stops.add)
    server.schedule(10, server.set_open_requests(0))

    assert server.run() == 0
    assert 10 < server.now < 13
    assert server.drained == [DRAIN_SECONDS]
    assert server.events[-1]["unanswered"] == 0


def test_drain_waits_for_uploads(server):
    def finish_upload() -> None:
        server.num_uploads = 0

    server.num_uploads = 1
    server.schedule(1, server.stops.add)
    server.schedule(6, finish_upload)

    assert server.run() == 0
    assert 6 < server.now < 9


def test_drain_ends_soon_after_its_deadline_with_a_request_open(server):
    server.set_open_requests(1)()
    server.schedule(1, server.stops.add)

    assert server.run() == 0
    assert 1 + DRAIN_SECONDS < server.now < 1 + DRAIN_SECONDS + GRACE_SECONDS + 1
    assert server.events[-1]["unanswered"] == 1


def test_drain_that_cannot_be_sent_is_still_waited_for(server):
    def fail(seconds: float) -> None:
        raise OSError("No space left on device")

    server.drain = fail
    server.set_open_requests(1)()
    server.schedule(1, server.stops.add)

    assert server.run() == 0
    assert server.now > DRAIN_SECONDS
    assert [event["event"] for event in server.events][:2] == [
        "drain",
        "drain not told",
    ]


def test_second_signal_shortens_the_drain(server):
    server.set_open_requests(1)()
    server.schedule(1, server.stops.add)
    server.schedule(3, server.stops.add)

    assert server.run() == 0
    assert server.drained == [DRAIN_SECONDS, 0]
    assert server.now < 3 + GRACE_SECONDS + 1


def test_worker_that_has_not_seen_the_drain_is_waited_for(server):
    def record_only(seconds: float) -> None:
        server.drained.append(seconds)

    server.drain = record_only
    server.schedule(1, server.stops.add)

    server.run()

    assert server.now > DRAIN_SECONDS


@pytest.mark.parametrize("worker_state", [{}, READY | {"state": "starting"}])
def test_loading_server_is_stopped_without_a_drain(server, worker_state):
    server.worker_state = worker_state
    server.schedule(1, server.stops.add)

    assert server.run() == 0
    assert server.now < 4


def test_crash_is_an_error_with_its_reason_in_the_last_event(server):
    server.schedule(5, server.crash)

    assert server.run() == 1
    assert [event["event"] for event in server.events] == ["crash", "stop"]
    assert server.events[-1]["reason"] == "TorchServe was ended by SIGKILL"


def test_crash_during_a_drain_is_an_error(server):
    server.set_open_requests(1)()
    server.schedule(1, server.stops.add)
    server.schedule(2, server.crash)

    assert server.run() == 1


def test_model_that_cannot_be_loaded_stops_the_server(server):
    server.worker_state = {"state": "starting", "worker": "7"}

    def fail() -> None:
        server.failure = "MODEL_DIR is /nothing, which holds no config.json"

    server.schedule(3, fail)

    assert server.run() == 1
    assert server.num_stops == 1
    assert server.events[-1]["reason"] == server.failure


def test_failed_reload_does_not_stop_the_server(server):
    def fail() -> None:
        server.failure = "the weights are gone"

    server.schedule(3, fail)
    server.schedule(60, server.stops.add)

    assert server.run() == 0


def test_dead_worker_is_reported_once(server):
    def die() -> None:
        server.alive.clear()

    server.schedule(3, die)
    server.schedule(20, server.stops.add)

    server.run()

    crashes = [event for event in server.events if event["event"] == "crash"]
    assert [(crash["what"], crash["pid"]) for crash in crashes] == [("worker", 7)]
