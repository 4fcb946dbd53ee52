"""Atomic replacement of the state file, including on a full disk."""

from __future__ import annotations

import os

import pytest

from handler.worker.state_file import SIZE_BYTES, StateFile
from tests.disks import fill, small_disk


@pytest.fixture
def state(tmp_path):
    state = StateFile(tmp_path / "state")
    yield state
    state.close()


def text(folder):
    return (folder / "state").read_text().rstrip("\n")


def test_state_file_has_the_last_text(state, tmp_path):
    for word in ("first", "a second that is longer", "third"):
        state.write(word)

        assert text(tmp_path) == word


def test_nothing_is_published_before_the_first_text(state, tmp_path):
    state.prepare()

    assert not (tmp_path / "state").exists()


def test_next_process_continues_with_the_same_files(state, tmp_path):
    state.write("of the first worker")
    other = StateFile(tmp_path / "state")
    reader = (tmp_path / "state").open()

    other.write("of the second worker")

    assert text(tmp_path) == "of the second worker"
    # A later write does not change the file of a reader that has opened it.
    assert reader.read().rstrip("\n") == "of the first worker"
    reader.close()
    other.close()


def test_a_write_succeeds_after_an_interrupted_one(state, tmp_path):
    state.write("before")
    os.link(tmp_path / "state", tmp_path / ".state-next")

    state.write("after")

    assert text(tmp_path) == "after"


def test_a_prepared_file_is_written_on_a_full_disk():
    with small_disk(1) as disk:
        state = StateFile(disk / "state")
        state.prepare()
        fill(disk)

        for number in range(5):
            state.write(f"number {number}")

            assert text(disk) == f"number {number}"
        state.close()


def test_disk_that_is_already_full_is_an_error():
    with small_disk(1) as disk:
        fill(disk)

        with pytest.raises(OSError, match="No space left"):
            StateFile(disk / "state").prepare()


def test_a_text_that_is_too_long_is_an_error(state):
    with pytest.raises(ValueError, match="above 4,096"):
        state.write("x" * (SIZE_BYTES + 1))
