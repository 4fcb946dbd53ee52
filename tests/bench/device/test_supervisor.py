"""Supervisor of a process that may die, hang or run out of time."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from bench.device.supervisor import supervise


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


def run_supervised(log: Path, program: str, *, budget=20.0, overdue=lambda: 0.0):
    """Supervise a program that appends a line to the log for each item it begins.

    Return whether it was completed, the number of items begun, and the messages.
    """
    messages: list[str] = []

    def num_begun() -> int:
        return len(log.read_text().splitlines())

    is_done = supervise(
        lambda left: [sys.executable, "-S", "-c", program, str(log)],
        budget=budget,
        num_begun=num_begun,
        overdue_seconds=overdue,
        tell=messages.append,
        min_seconds=0.1,
    )
    return is_done, num_begun(), messages


BEGIN = "import os, sys, time; log = open(sys.argv[1], 'a+'); log.write('item\\n');"
BEGIN += "log.flush(); log.seek(0); count = len(log.readlines());"


def test_a_killed_process_is_followed_by_another(log):
    program = f"{BEGIN} os.kill(os.getpid(), 9) if count == 1 else None"

    is_done, num_begun, messages = run_supervised(log, program)

    assert is_done
    assert num_begun == 2
    assert messages == ["the process ended with status -9"]


def test_process_that_ends_before_any_item_is_not_restarted(log):
    is_done, num_begun, messages = run_supervised(log, "import sys; sys.exit(1)")

    assert not is_done
    assert num_begun == 0
    assert messages == ["the process ended with status 1"]


def test_a_hanging_item_is_killed_and_others_follow(log):
    program = f"{BEGIN} time.sleep(60) if count == 1 else None"

    def overdue() -> float:
        return float(len(log.read_text().splitlines()) == 1)

    is_done, num_begun, messages = run_supervised(log, program, overdue=overdue)

    assert is_done
    assert num_begun == 2
    assert messages == ["an item hangs: its process is killed"]


def test_a_process_is_ended_when_the_time_is_up(log):
    begin = time.monotonic()

    is_done, _, messages = run_supervised(log, f"{BEGIN} time.sleep(60)", budget=0.5)

    assert not is_done
    assert messages == ["the time is up: the item that ran is not measured"]
    assert time.monotonic() - begin < 30
