"""A small process that cleans up after a supervisor that was killed.

A supervisor cannot react to SIGKILL. The guard reads from a pipe that closes when the
supervisor ends. It then ends Java and its process group, and the engine, and removes
their folders.

The guard's process runs this file alone, so it imports no other module of ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Guard"]

ORDERLY_SECONDS = 3.0
"""Time from SIGTERM for Java to SIGKILL for the processes that are left."""
POLL_SECONDS = 0.05
_IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Guard:
    """Running guard process. The methods tell it what to clean up.

    `user` is the user id of the guarded processes; None keeps the current user.
    """

    def __init__(self, user: int | None = None) -> None:
        # The child inherits the blocked signals, so that none ends it before it ignores
        # them.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED_SIGNALS)
        try:
            self._process = self._start(user)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)

    @staticmethod
    def _start(user: int | None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # Without site-packages and variables, it takes 20 ms and 13 MB.
            [sys.executable, "-I", "-S", __file__],
            cwd="/",
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            # Signals to the supervisor's group must not reach the guard.
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch_session(self, leader: int) -> None:
        """Have the guard end a process and its group if the supervisor is killed."""
        self._send("session", leader)

    def watch_process(self, pid: int) -> None:
        """Have the guard end a process if the supervisor is killed."""
        self._send("process", pid)

    def watch_folder(self, folder: Path) -> None:
        """Have the guard remove a folder if the supervisor is killed."""
        self._send("folder", folder)

    def close(self) -> None:
        """End the guard without ending or removing what it watches."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def _send(self, kind: str, target: object) -> None:
        assert self._process.stdin is not None
        # A killed guard is no error: it is needed only if the supervisor is killed too.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{kind} {target}\n")
            self._process.stdin.flush()


def _read_start_time(pid: int) -> str | None:
    """Return a process's start time in ticks; None if there is no such process.

    It distinguishes the process from a later one with the same id.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _main() -> None:
    """Read what to watch from stdin; at its end, end and remove what was watched."""
    for number in _IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    start_times: dict[int, str | None] = {}
    sessions: list[int] = []
    processes: list[int] = []
    folders: list[str] = []
    # The loop ends when the supervisor has ended.
    for line in sys.stdin:
        kind, _, target = line.rstrip("\n").partition(" ")
        if kind == "folder":
            folders.append(target)
        else:
            (sessions if kind == "session" else processes).append(int(target))
            start_times[int(target)] = _read_start_time(int(target))

    def is_same(pid: int) -> bool:
        return (
            start_times[pid] is not None and _read_start_time(pid) == start_times[pid]
        )

    for leader in filter(is_same, sessions):
        os.kill(leader, signal.SIGTERM)
    _wait_until(lambda: not any(map(_has_members, sessions)), ORDERLY_SECONDS)
    for leader in sessions:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
    for pid in filter(is_same, processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # The id was reused for another user's group.
        return False
    return True


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    _main()
