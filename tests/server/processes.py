"""The processes a server consists of, as the operating system sees them."""

from __future__ import annotations

import contextlib

import psutil

__all__ = ["engine_pid", "family", "is_alive", "is_idle"]


def family(pid: int) -> list[psutil.Process]:
    """A process and everything below it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def engine_pid(worker_pid: int) -> int:
    """The engine process: of the server's children, the one that has torch loaded.

    It may be older than the worker, and then is no child of its.
    """
    folder = psutil.Process(worker_pid).environ()["CHANDRA_STATE_DIR"]
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_child = "handler.processes.child" in process.cmdline()
            if is_child and process.environ().get("CHANDRA_STATE_DIR") == folder:
                found[process.pid] = process.memory_info().rss
    return max(found, key=found.__getitem__)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def is_idle(pid: int, seconds: float = 1.0) -> bool:
    """True if a process sleeps, and used no processor time for some seconds."""
    process = psutil.Process(pid)
    used = process.cpu_percent(interval=seconds)
    return used == 0 and process.status() == psutil.STATUS_SLEEPING
