"""Resident memory of a server's processes, read from /proc."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

__all__ = ["MemoryWatch", "find_process_kind", "find_server"]

SAMPLE_SECONDS = 0.5
STATE_DIR = "CHANDRA_STATE_DIR"
MIB = 1 << 20


def find_server(port: int) -> int | None:
    """Return the id of the process that listens on a local port.

    Return None if there is none, or if this user may not see it.
    """
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.pid:
            continue
        if connection.laddr and connection.laddr[1] == port:
            return connection.pid
    return None


def find_process_kind(process: psutil.Process) -> str:
    """Return whether a server's process is `java`, `worker`, `engine` and so on.

    Raise psutil.Error or OSError if the process has ended.
    """
    command = process.cmdline()
    if process.name() == "java":
        return "java"
    if any(word.endswith("model_service_worker.py") for word in command):
        return "worker"
    if "handler.processes.child" in command:
        # Decoders and writers never load torch.
        has_torch = "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()
        return "engine" if has_torch else "decoder or writer"
    return "other"


class MemoryWatch:
    """Background thread that samples the memory of a server's processes.

    `parts` maps a kind of process to the number of processes, the largest resident
    memory of one, and that of all, in MiB. Without a process id it stays empty.
    """

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.parts: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def add(self, sizes: Iterable[tuple[str, int]]) -> None:
        """Add a sample: kind and resident bytes of each process."""
        by_kind: dict[str, list[float]] = {}
        for kind, size in sizes:
            by_kind.setdefault(kind, []).append(size / MIB)
        for kind, sizes_of_kind in by_kind.items():
            before: Mapping[str, Any] = self.parts.get(kind, {})
            self.parts[kind] = {
                "processes": max(len(sizes_of_kind), before.get("processes", 0)),
                "largest": round(max(*sizes_of_kind, before.get("largest", 0)), 1),
                "all": round(max(sum(sizes_of_kind), before.get("all", 0)), 1),
                "last": round(sum(sizes_of_kind), 1),
            }

    def _run(self) -> None:
        if self._pid is None:
            return
        while True:
            self.add(self._sample(self._pid))
            if self._is_over.wait(SAMPLE_SECONDS):
                return

    def _sample(self, pid: int) -> list[tuple[str, int]]:
        sizes = []
        with contextlib.suppress(psutil.Error):
            java = psutil.Process(pid)
            family = {java, *java.children(recursive=True), *_early_engines(java)}
            for process in family:
                with contextlib.suppress(psutil.Error, OSError):
                    kind = find_process_kind(process)
                    sizes.append((kind, process.memory_info().rss))
        return sizes


def _early_engines(java: psutil.Process) -> list[psutil.Process]:
    """Return engine processes that started before Java and are not its children."""
    folder = java.environ().get(STATE_DIR)
    engines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_child = "handler.processes.child" in process.cmdline()
            if folder and is_child and process.environ().get(STATE_DIR) == folder:
                engines.append(process)
    return engines
