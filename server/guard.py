"""A small process that ends a server whose supervisor was killed.

SIGKILL leaves a supervisor no time to end what it has started. The guard holds one end
of a pipe whose other end closes with the supervisor; it then ends Java with everything
in Java's session, and the engine, and removes their folders.

It runs this file by itself, so nothing here imports another module of ours.
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
"""From SIGTERM for Java to SIGKILL for what is left."""
POLL_SECONDS = 0.05


class Guard:
    """The guard's process, as its supervisor sees it.

    `user` is who the guarded processes run as; None: whoever we are.
    """

    def __init__(self, user: int | None = None) -> None:
        self._process = subprocess.Popen(
            # Neither site-packages nor variables: it takes 20 ms and 13 MB.
            [sys.executable, "-I", "-S", __file__],
            cwd="/",
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            # A signal for the supervisor's group is not for the guard.
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch_session(self, leader: int) -> None:
        """End this process and its process group, should the supervisor be killed."""
        self._send("session", leader)

    def watch_process(self, pid: int) -> None:
        """End this process as well, should the supervisor be killed."""
        self._send("process", pid)

    def watch_folder(self, folder: Path) -> None:
        """Remove this folder as well, should the supervisor be killed."""
        self._send("folder", folder)

    def close(self) -> None:
        """End the guard, and leave alone what it has watched."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def _send(self, kind: str, what: object) -> None:
        assert self._process.stdin is not None
        # A guard that somebody has killed is missed only by those who kill us too.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{kind} {what}\n")
            self._process.stdin.flush()


def _started_at(pid: int) -> str | None:
    """When a process was started, in ticks; None where there is no such process.

    Tells a process from a later one that was given the same number.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    started: dict[int, str | None] = {}
    sessions: list[int] = []
    processes: list[int] = []
    folders: list[str] = []
    # Until the supervisor is gone.
    for line in sys.stdin:
        kind, _, what = line.rstrip("\n").partition(" ")
        if kind == "folder":
            folders.append(what)
        else:
            (sessions if kind == "session" else processes).append(int(what))
            started[int(what)] = _started_at(int(what))

    def is_same(pid: int) -> bool:
        return started[pid] is not None and _started_at(pid) == started[pid]

    for leader in filter(is_same, sessions):
        os.kill(leader, signal.SIGTERM)
    _wait(lambda: not any(map(_has_members, sessions)), ORDERLY_SECONDS)
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
        # Another user's group by now, under a number that was used before.
        return False
    return True


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    _main()
