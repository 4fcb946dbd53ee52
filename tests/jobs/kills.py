"""Random schedule of kills, and the killing of submitter, server and engine."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from tests.jobs.cloud import Cloud
from tests.jobs.progress import ProgressLog
from tests.jobs.submitter import Submitter
from tests.server.processes import list_family

__all__ = ["Kill", "Killer", "Victim", "plan_kills"]

TIMEOUT_SECONDS = 900.0
"""Longest wait for progress, which includes the start of a server."""
POLL_SECONDS = 0.3


class Victim(StrEnum):
    """Kind of process that is killed."""

    SUBMITTER = "submitter"
    SERVER = "server"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Kill:
    """Planned kill of a process."""

    victim: Victim
    num_read: int
    """Number of documents that are read before the kill."""
    seconds: float
    """Delay after that."""


def plan_kills(rng: random.Random, num_kills: int, num_documents: int) -> list[Kill]:
    """Return kills in order of time, with equal numbers of each victim."""
    victims = [list(Victim)[number % len(Victim)] for number in range(num_kills)]
    rng.shuffle(victims)
    # After the last kill, a quarter of the documents is still to be read.
    moments = sorted(rng.randrange(num_documents * 3 // 4) for _ in victims)
    return [
        Kill(victim, num_read, rng.random())
        for victim, num_read in zip(victims, moments, strict=True)
    ]


class Killer:
    """Executor of a schedule of kills."""

    def __init__(
        self,
        cloud: Cloud,
        submitter: Submitter,
        num_read: Callable[[], int],
        progress: ProgressLog,
    ) -> None:
        self._progress = progress
        self._cloud = cloud
        self._submitter = submitter
        self._num_read = num_read
        self.killed: list[Victim] = []

    def run(self, kills: Sequence[Kill]) -> None:
        """Wait for the moment of each kill, and kill its victim.

        The submitter is killed in place of a victim that no longer runs.
        """
        for kill in kills:
            self._wait(self._has_read(kill.num_read))
            time.sleep(kill.seconds)
            victim = self._kill(kill.victim)
            self.killed.append(victim)
            self._progress.print_line(
                f"killed the {victim}, {kill.seconds:.2f} s after {kill.num_read} "
                "documents were read"
            )

    def _has_read(self, number: int) -> Callable[[], bool]:
        return lambda: self._num_read() >= number

    def _kill(self, victim: Victim) -> Victim:
        if victim is Victim.SUBMITTER or not self._wait(
            lambda: self._find_process(victim)
        ):
            self._submitter.kill()
            return Victim.SUBMITTER
        pid = self._find_process(victim)
        with contextlib.suppress(ProcessLookupError):
            if victim is Victim.SERVER:
                # Java and its worker have a process group of their own.
                os.killpg(os.getpgid(pid), signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
        return victim

    def _wait(self, condition: Callable[[], object]) -> bool:
        """Wait for a condition; return False if all documents are done before."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            self._submitter.check()
            if condition():
                return True
            if self._submitter.is_done:
                return False
            time.sleep(POLL_SECONDS)
        raise AssertionError(
            f"no progress: {self._submitter.outputs[-3:]} {self._cloud.lines[-20:]}"
        )

    def _find_process(self, victim: Victim) -> int:
        """Return the process id of a victim, or 0 if it is not running."""
        first = self._cloud.find_server()
        with contextlib.suppress(psutil.Error):
            for process in list_family(first) if first else ():
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if victim is Victim.SERVER and process.name() == "java":
                    return int(process.pid)
                if victim is Victim.ENGINE and _is_engine(process):
                    return int(process.pid)
        return 0


def _is_engine(process: psutil.Process) -> bool:
    """Return True if the process is the engine: a child that has loaded torch."""
    if "handler.processes.child" not in process.cmdline():
        return False
    with contextlib.suppress(OSError):
        return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()
    return False
