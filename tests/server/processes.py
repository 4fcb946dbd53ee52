"""Processes of a server, as the operating system reports them."""

from __future__ import annotations

import contextlib

import psutil

__all__ = ["find_engine_pid", "is_alive", "is_idle", "list_family"]


def list_family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, the process first."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def find_engine_pid(worker_pid: int) -> int:
    """Return the id of the engine process, the largest helper process of the server.

    An engine that was started before the worker is not a child of the worker.
    """
    folder = psutil.Process(worker_pid).environ()["CHANDRA_STATE_DIR"]
    sizes = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_child = "handler.processes.child" in process.cmdline()
            if is_child and process.environ().get("CHANDRA_STATE_DIR") == folder:
                sizes[process.pid] = process.memory_info().rss
    return max(sizes, key=sizes.__getitem__)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def is_idle(pid: int, seconds: float = 1.0) -> bool:
    """Return True if a process sleeps, and uses no processor time for some seconds."""
    process = psutil.Process(pid)
    cpu_percent = process.cpu_percent(interval=seconds)
    return cpu_percent == 0 and process.status() == psutil.STATUS_SLEEPING
