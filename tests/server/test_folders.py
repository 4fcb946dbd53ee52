"""Temporary folders: those of killed servers are removed, and no others."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from server.archive import ROOT
from server.folders import LockedFolder, remove_leftovers

PREFIX = "chandra-test-"
HOLD_FOLDER_SCRIPT = """
import sys, time
from pathlib import Path
from server.folders import LockedFolder
folder = LockedFolder(sys.argv[1], Path(sys.argv[2]))
(folder.path / "file").touch()
print(folder.path, flush=True)
time.sleep(600)
"""


@pytest.fixture
def holding_process(tmp_path):
    """Another process that holds a folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_FOLDER_SCRIPT, PREFIX, tmp_path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_the_folder_of_a_running_server_is_left_alone(holding_process, tmp_path):
    remove_leftovers(PREFIX, tmp_path)

    [folder] = tmp_path.iterdir()
    assert (folder / "file").exists()


def test_the_folder_of_a_killed_server_is_removed(holding_process, tmp_path):
    holding_process.send_signal(signal.SIGKILL)
    holding_process.wait()

    remove_leftovers(PREFIX, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_folders_with_other_names_links_and_files_are_left_alone(tmp_path):
    other = tmp_path / "chandra-other"
    other.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(other)
    (tmp_path / f"{PREFIX}file").touch()

    remove_leftovers(PREFIX, tmp_path)

    assert len(list(tmp_path.iterdir())) == 3


def test_closing_a_folder_twice_removes_it(tmp_path):
    folder = LockedFolder(PREFIX, tmp_path)
    (folder.path / "file").touch()

    folder.close()
    folder.close()

    assert list(tmp_path.iterdir()) == []
