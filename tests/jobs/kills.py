"""Schedule of kills, which depends on a seed, and the killing of processes."""

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
from tests.jobs.diary import Diary
from tests.jobs.submitter import Submitter
from tests.server.processes import family

__all__ = ["Kill", "Killer", "Victim", "schedule"]

PATIENT_SECONDS = 900.0
"""Timeout for the next documents, for which a server may have to start."""
POLL_SECONDS = 0.3


class Victim(StrEnum):
    SUBMITTER = "submitter"
    SERVER = "server"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Kill:
    victim: Victim
    num_read: int
    """Number of documents that are read before."""
    seconds: float
    """Delay after that."""


def schedule(rng: random.Random, num_kills: int, num_documents: int) -> list[Kill]:
    """Return kills with each victim equally often, while documents are left."""
    victims = [list(Victim)[number % len(Victim)] for number in range(num_kills)]
    rng.shuffle(victims)
    # Documents remain to be read after the last kill.
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
        diary: Diary,
    ) -> None:
        self._diary = diary
        self._cloud = cloud
        self._submitter = submitter
        self._num_read = num_read
        self.killed: list[Victim] = []

    def run(self, kills: Sequence[Kill]) -> None:
        for kill in kills:
            self._wait(self._has_read(kill.num_read))
            time.sleep(kill.seconds)
            victim = self._kill(kill.victim)
            self.killed.append(victim)
            self._diary.say(
                f"killed the {victim}, {kill.seconds:.2f} s after {kill.num_read} read"
            )

    def _has_read(self, number: int) -> Callable[[], bool]:
        return lambda: self._num_read() >= number

    def _kill(self, victim: Victim) -> Victim:
        if victim is Victim.SUBMITTER or not self._wait(lambda: self._pid(victim)):
            self._submitter.kill()
            return Victim.SUBMITTER
        pid = self._pid(victim)
        with contextlib.suppress(ProcessLookupError):
            if victim is Victim.SERVER:
                # Java has a process group of its own, which includes the worker.
                os.killpg(os.getpgid(pid), signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
        return victim

    def _wait(self, condition: Callable[[], object]) -> bool:
        """Wait for a condition; return False if everything is done before."""
        deadline = time.monotonic() + PATIENT_SECONDS
        while time.monotonic() < deadline:
            self._submitter.check()
            if condition():
                return True
            if self._submitter.is_done:
                return False
            time.sleep(POLL_SECONDS)
        raise AssertionError(
            f"nothing goes on: {self._submitter.output[-3:]} {self._cloud.lines[-20:]}"
        )

    def _pid(self, victim: Victim) -> int:
        """Return the id of a victim's process; 0 if it does not run."""
        first = self._cloud.container()
        with contextlib.suppress(psutil.Error):
            for process in family(first) if first else ():
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if victim is Victim.SERVER and process.name() == "java":
                    return int(process.pid)
                if victim is Victim.ENGINE and _is_engine(process):
                    return int(process.pid)
        return 0


def _is_engine(process: psutil.Process) -> bool:
    """Return True for the child process that has torch loaded."""
    if "handler.processes.child" not in process.cmdline():
        return False
    with contextlib.suppress(OSError):
        return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()
    return False
