"""The processes a server consists of, as the operating system sees them."""

from __future__ import annotations

import psutil

__all__ = ["engine_pid", "family", "is_alive"]


def family(pid: int) -> list[psutil.Process]:
    """A process and everything below it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def engine_pid(worker_pid: int) -> int:
    """The engine process: of the worker's children, the one that has torch loaded."""
    children = psutil.Process(worker_pid).children()
    return max(children, key=lambda child: child.memory_info().rss).pid


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != "zombie"
    except psutil.NoSuchProcess:
        return False
