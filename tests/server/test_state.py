"""State folder of a server, which also works on a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.worker.beacon import Beacon
from server.state import SHARED_MEMORY, StateFolder
from tests.disks import fill, small_disk


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_the_state_folder_is_in_shared_memory_until_closed(scratch):
    state = StateFolder(scratch)

    if SHARED_MEMORY.is_dir():
        assert state.path.parent == SHARED_MEMORY
    state.close()
    assert not state.path.exists()


@pytest.mark.parametrize("kind", ["missing", "file", "full"])
def test_without_shared_memory_the_fallback_folder_is_used(scratch, tmp_path, kind):
    shared = tmp_path / "shm"
    if kind == "file":
        shared.touch()
    if kind == "full":
        with small_disk(1) as shared:
            fill(shared)
            state = StateFolder(scratch, shared_memory=shared)
            assert [path.name for path in shared.iterdir()] == ["filling"]
    else:
        state = StateFolder(scratch, shared_memory=shared)

    assert state.path.parent == scratch
    state.close()


def test_leftovers_in_shared_memory_are_removed(scratch, tmp_path):
    departed_ids = tmp_path / "shm" / "chandra-state-of-a-killed-one"
    departed_ids.mkdir(parents=True)

    StateFolder(scratch, shared_memory=tmp_path / "shm").close()

    assert not departed_ids.exists()


def test_drain_works_on_a_full_disk(tmp_path):
    with small_disk(1) as disk:
        state = StateFolder(disk, shared_memory=tmp_path / "nothing")
        drained: list[float] = []
        departed_ids: list[object] = []
        beacon = Beacon(
            state.path, lambda: {"state": "ready"}, drained.append, departed_ids.append
        )
        beacon.update()
        fill(disk)

        state.drain(20)
        # The frontend reports a disconnected client in this way.
        (state.path / "gone" / "id-a").touch()
        beacon.update()
        state.drain(0)
        beacon.update()

        assert 19 < drained[0] - drained[1] < 21
        assert departed_ids == [{"id-a"}, {"id-a"}]
        beacon.close()
        state.close()


def test_a_disk_that_is_full_at_the_start_is_an_error(tmp_path):
    with small_disk(1) as disk:
        fill(disk)

        with pytest.raises(OSError, match="No space left"):
            StateFolder(disk, shared_memory=tmp_path / "nothing")
