"""Publication of the worker's state, and notices of draining and disconnects."""

from __future__ import annotations

import pytest

from handler.worker.beacon import BEAT_SECONDS, DRAINING, GONE, STATE, Beacon
from tests.disks import fill, small_disk
from tests.waiting import until


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def state():
    """State that the worker would publish."""
    return {"state": "starting"}


@pytest.fixture
def drained():
    return []


@pytest.fixture
def left():
    return []


def published(folder):
    """Return the published text."""
    return (folder / STATE).read_text().rstrip("\n")


@pytest.fixture
def beacon(tmp_path, state, drained, left, clock):
    beacon = Beacon(tmp_path, lambda: state, drained.append, left.append, clock)
    yield beacon
    beacon.close()


def test_state_is_published_when_the_beacon_starts(beacon, tmp_path):
    beacon.start()

    assert published(tmp_path) == "state=starting"


def test_a_change_is_written_without_waiting_for_the_next_beat(beacon, tmp_path, state):
    beacon.start()

    state["state"] = "ready"

    until(lambda: published(tmp_path) == "state=ready", 5)


def test_unchanged_state_is_written_every_beat(beacon, tmp_path, clock):
    beacon.update()
    (tmp_path / STATE).unlink()

    beacon.update()
    assert not (tmp_path / STATE).exists()

    clock.now += BEAT_SECONDS
    beacon.update()
    assert (tmp_path / STATE).exists()


def test_failing_describe_publishes_no_state(tmp_path, drained, left):
    def fail():
        raise RuntimeError("no idea")

    beacon = Beacon(tmp_path, fail, drained.append, left.append)

    with pytest.raises(RuntimeError):
        beacon.update()

    assert not (tmp_path / STATE).exists()


def test_the_state_is_written_on_a_full_disk(state, drained, left, clock):
    with small_disk(1) as disk:
        beacon = Beacon(disk, lambda: state, drained.append, left.append, clock)
        beacon.update()
        before = (disk / STATE).stat().st_mtime_ns
        fill(disk)

        state["state"] = "ready"
        beacon.update()
        clock.now += BEAT_SECONDS
        beacon.update()

        assert published(disk) == "state=ready"
        assert (disk / STATE).stat().st_mtime_ns > before
        beacon.close()


def test_failing_describe_is_logged_once(tmp_path, state, left, caplog):
    asked = []

    def fail(ends_at):
        asked.append(ends_at)
        raise RuntimeError("no idea")

    beacon = Beacon(tmp_path, lambda: state, fail, left.append)
    beacon.start()
    (tmp_path / DRAINING).write_text("123.5")

    until(lambda: len(asked) > 1)
    beacon.close()

    assert caplog.messages == ["state not written"]


def test_drain_request_is_noticed(beacon, tmp_path, drained):
    beacon.update()
    assert drained == []

    (tmp_path / DRAINING).write_text("123.5")
    beacon.update()

    assert drained == [123.5]


def test_earlier_drain_deadline_is_noticed(beacon, tmp_path, drained):
    for ends_at in ("123.5", "101"):
        (tmp_path / DRAINING).write_text(ends_at)
        beacon.update()

    assert drained == [123.5, 101]


def test_partly_written_drain_request_is_read_later(beacon, tmp_path, drained):
    (tmp_path / DRAINING).write_text("")

    beacon.update()

    assert drained == []


def test_disconnected_requests_are_passed_on_repeatedly(beacon, tmp_path, left):
    beacon.update()
    gone = tmp_path / GONE
    gone.mkdir()
    beacon.update()
    assert left == []

    (gone / "id-a").touch()
    (gone / "id-b").touch()
    beacon.update()
    (gone / "id-a").unlink()
    beacon.update()

    assert left == [{"id-a", "id-b"}, {"id-b"}]
