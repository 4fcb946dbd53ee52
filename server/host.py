"""Host facilities: free ports, orphaned processes, and rights of another user."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

__all__ = [
    "PORT_RANGE",
    "can_switch_user",
    "find_free_addresses",
    "find_free_ports",
    "find_private_addresses",
    "find_unreadable_path",
    "reap_orphans",
]

PORT_RANGE = range(20_000, 32_768)
"""Ports below Linux's ephemeral range, so that no outgoing connection takes one before
the server listens."""
_CANDIDATE_STRIDE = 1009
"""Distance between the first candidates of processes with successive ids."""
_candidates = itertools.count(os.getpid() * _CANDIDATE_STRIDE)


def find_free_ports(number: int) -> list[int]:
    """Return `number` different free ports of the loopback interface.

    The ports are released before a server listens on them. Each process searches the
    range from a different start, so that two processes do not find the same ports.
    Raise OSError if too few ports of the range are free.
    """
    free: list[int] = []
    with contextlib.ExitStack() as stack:
        for candidate in itertools.islice(_candidates, len(PORT_RANGE)):
            port = PORT_RANGE[candidate % len(PORT_RANGE)]
            probe = socket.socket()
            stack.callback(probe.close)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                probe.close()
                continue
            free.append(port)
            if len(free) == number:
                return free
    raise OSError(
        f"fewer than {number} ports are free from {PORT_RANGE[0]} to {PORT_RANGE[-1]}"
    )


def find_free_addresses() -> dict[str, str]:
    """Return keys of config.properties that move every listener to a free port.

    Raise OSError if too few ports are free.
    """
    inference, management, metrics, grpc_1, grpc_2, worker = find_free_ports(6)
    return {
        "inference_address": f"http://127.0.0.1:{inference}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": str(grpc_1),
        "grpc_management_port": str(grpc_2),
        # Not a TCP port: the number is part of the name of the worker's socket.
        "initial_worker_port": str(worker),
    }


def find_private_addresses() -> dict[str, str]:
    """Return the result of find_free_addresses without the inference address."""
    addresses = find_free_addresses()
    del addresses["inference_address"]
    return addresses


def reap_orphans(own_pids: Collection[int]) -> None:
    """Reap ended child processes, which is the duty of process 1.

    Orphaned processes become children of process 1. `own_pids` are the children that
    other code waits for: their exit statuses are kept. Stop at the first of them that
    has ended; the next call continues after its status was collected.
    """
    while True:
        try:
            # WNOWAIT keeps the exit status, in case it is one of `own_pids`.
            child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if child is None or child.si_pid in own_pids:
            return
        os.waitpid(child.si_pid, os.WNOHANG)


# Numbers of CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID and CAP_SETUID. They are
# needed to change the owner of files, write to them, and signal other users' processes.
_NEEDED_CAPABILITIES = (0, 1, 5, 6, 7)


def can_switch_user(status: str | None = None) -> bool:
    """Return True if this process may start and end processes of another user.

    Root may not in a container without capabilities. `status` is the content of
    /proc/self/status, which is read if it is None.
    """
    text = Path("/proc/self/status").read_text() if status is None else status
    uid = re.search(r"^Uid:\s+\d+\s+(\d+)", text, re.MULTILINE)
    effective = re.search(r"^CapEff:\s+([0-9a-f]+)", text, re.MULTILINE)
    if uid is None or effective is None or int(uid.group(1)) != 0:
        return False
    return all(
        int(effective.group(1), 16) >> number & 1 for number in _NEEDED_CAPABILITIES
    )


def find_unreadable_path(folder: Path, user: int) -> Path | None:
    """Return the first path in `folder` that `user` cannot read; None if there is none.

    A path is readable if `user` owns it or if its mode lets all users read it. Groups
    are ignored. A missing folder has no unreadable path.
    """
    if not folder.exists():
        return None
    for path in (folder, *_walk(folder)):
        status = path.stat()
        needed = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
        if status.st_uid != user and status.st_mode & needed != needed:
            return path
    return None


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(root, name)).exists():  # skip dangling links
                yield path
