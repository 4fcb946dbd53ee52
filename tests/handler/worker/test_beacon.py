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
def drain_times():
    """Times with which the beacon has called `drain`."""
    return []


@pytest.fixture
def disconnects():
    """Sets of request ids with which the beacon has called `disconnect`."""
    return []


def published(folder):
    """Return the text of the state file, without its padding."""
    return (folder / STATE).read_text().rstrip("\n")


@pytest.fixture
def beacon(tmp_path, state, drain_times, disconnects, clock):
    beacon = Beacon(
        tmp_path, lambda: state, drain_times.append, disconnects.append, clock
    )
    yield beacon
    beacon.close()


def test_state_is_published_when_the_beacon_starts(beacon, tmp_path):
    beacon.start()

    assert published(tmp_path) == "state=starting"


def test_a_changed_state_is_written_at_once(beacon, tmp_path, state):
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


def test_failing_describe_publishes_no_state(tmp_path, drain_times, disconnects):
    def fail():
        raise RuntimeError("no idea")

    beacon = Beacon(tmp_path, fail, drain_times.append, disconnects.append)

    with pytest.raises(RuntimeError):
        beacon.update()

    assert not (tmp_path / STATE).exists()


def test_the_state_is_written_on_a_full_disk(state, drain_times, disconnects, clock):
    with small_disk(1) as disk:
        beacon = Beacon(
            disk, lambda: state, drain_times.append, disconnects.append, clock
        )
        beacon.update()
        before = (disk / STATE).stat().st_mtime_ns
        fill(disk)

        state["state"] = "ready"
        beacon.update()
        # The next beat writes into the other of the two files.
        clock.now += BEAT_SECONDS
        beacon.update()

        assert published(disk) == "state=ready"
        assert (disk / STATE).stat().st_mtime_ns > before
        beacon.close()


def test_failing_drain_is_logged_once(tmp_path, state, disconnects, caplog):
    calls = []

    def fail(stop_at):
        calls.append(stop_at)
        raise RuntimeError("no idea")

    beacon = Beacon(tmp_path, lambda: state, fail, disconnects.append)
    beacon.start()
    (tmp_path / DRAINING).write_text("123.5")

    until(lambda: len(calls) > 1)
    beacon.close()

    assert caplog.messages == ["state not written"]


def test_drain_is_called_once_the_file_exists(beacon, tmp_path, drain_times):
    beacon.update()
    assert drain_times == []

    (tmp_path / DRAINING).write_text("123.5")
    beacon.update()

    assert drain_times == [123.5]


def test_drain_is_called_with_a_changed_time(beacon, tmp_path, drain_times):
    for ends_at in ("123.5", "101"):
        (tmp_path / DRAINING).write_text(ends_at)
        beacon.update()

    assert drain_times == [123.5, 101]


def test_empty_drain_file_is_ignored(beacon, tmp_path, drain_times):
    (tmp_path / DRAINING).write_text("")

    beacon.update()

    assert drain_times == []


def test_disconnect_is_called_with_the_ids_at_each_update(
    beacon, tmp_path, disconnects
):
    beacon.update()
    gone = tmp_path / GONE
    gone.mkdir()
    beacon.update()
    assert disconnects == []

    (gone / "id-a").touch()
    (gone / "id-b").touch()
    beacon.update()
    (gone / "id-a").unlink()
    beacon.update()

    assert disconnects == [{"id-a", "id-b"}, {"id-b"}]
