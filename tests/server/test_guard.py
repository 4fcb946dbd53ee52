"""Guard, which ends the processes of a killed supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.archive import ROOT
from tests.server.processes import is_alive
from tests.waiting import until

# A supervisor whose guard watches a session and a single process. The session's leader
# ignores SIGTERM and has a child.
SUPERVISOR = """
import subprocess, sys, time
from pathlib import Path
from server.guard import Guard

LEADER = '''
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
time.sleep(600)
'''
guard = Guard()
guard.watch_folder(Path(sys.argv[1]))
leader = subprocess.Popen(
    [sys.executable, "-c", LEADER],
    start_new_session=True, stdout=subprocess.PIPE, text=True,
)
guard.watch_session(leader.pid)
engine = subprocess.Popen(["sleep", "600"])
guard.watch_process(engine.pid)
child = int(leader.stdout.readline())
print(guard.pid, leader.pid, child, engine.pid, flush=True)
sys.stdin.read()
guard.close()
for process in (leader, engine):
    process.kill()
"""


@pytest.fixture
def supervisor(tmp_path: Path):
    """Process that guards a folder, a session of two processes, and a process."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, tmp_path / "folder"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def read_pids(supervisor) -> list[int]:
    """Return the ids of the guard, session leader, its child, and single process."""
    return [int(pid) for pid in supervisor.stdout.readline().split()]


def test_a_killed_supervisor_leaves_no_process_and_no_folder(supervisor, tmp_path):
    pids = read_pids(supervisor)

    supervisor.kill()

    until(lambda: not any(map(is_alive, pids)), 15)
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_guard_outlives_signals_to_a_group(supervisor, number, tmp_path):
    guard, *_, engine = read_pids(supervisor)
    os.kill(guard, number)
    supervisor.kill()

    until(lambda: not is_alive(engine), 15)


def test_supervisor_that_ends_in_order_keeps_its_folder(supervisor, tmp_path):
    guard, *_ = read_pids(supervisor)

    supervisor.communicate("", timeout=20)

    assert supervisor.returncode == 0
    assert not is_alive(guard)
    assert (tmp_path / "folder" / "file").exists()
