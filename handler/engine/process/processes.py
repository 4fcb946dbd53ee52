"""Distribution of pages to all engine processes.

If an engine process dies, the pages that it ran are read again one at a time, so that a
page that kills its engine fails alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from handler.engine.engine import EngineInfo
from handler.engine.fallbacks import Fallback
from handler.engine.process.liveness import SILENCE_SECONDS
from handler.engine.process.messages import Cancel, Submit
from handler.engine.process.page_queue import PageQueue
from handler.engine.process.process import (
    EngineProcess,
    Health,
    StartChild,
    start_engine_child,
)
from handler.engine.request import FinishReason, Generation, Sequence
from handler.errors import EngineError, EngineFailedError
from handler.schema import PageError
from handler.settings import EngineSettings

__all__ = ["EngineProcesses"]

MAX_DEATHS = 2
"""Number of engine processes that may die with a page before the page fails."""

BEST_FIRST = (Health.READY, Health.STALLED, Health.RESTARTING, Health.STARTING)


@dataclass(eq=False)
class _Job:
    """Page that was submitted and has no result yet."""

    sequence: Sequence
    submitted_at: float
    future: Future[Generation] = field(default_factory=Future)
    num_deaths: int = 0

    @property
    def request_id(self) -> str:
        return self.sequence.request_id


@dataclass(eq=False)
class _Room:
    """Pages that one process runs, and suspects that it must run alone before others.

    A suspect is a page with which a process has died.
    """

    process: EngineProcess
    running: dict[str, _Job] = field(default_factory=dict)
    suspects: deque[_Job] = field(default_factory=deque)

    @property
    def has_suspect(self) -> bool:
        return any(job.num_deaths for job in self.running.values())


class EngineProcesses:
    """Interface of the worker to its engine processes, one per accelerator.

    Pages are submitted and cancelled here; results are futures. Thread-safe. Call
    `start` first and `close` last.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        start_child: StartChild = start_engine_child,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._settings = settings
        self._start_child = start_child
        self._clock = clock
        self._sleep = sleep
        self._silence_seconds = silence_seconds
        self._lock = threading.RLock()
        self._rooms: dict[EngineProcess, _Room] = {}
        self._waiting: PageQueue[_Job] = PageQueue()
        self._jobs: dict[str, _Job] = {}
        self._num_output_tokens: dict[str, int] = {}
        self._info: EngineInfo | None = None
        self._has_failed = threading.Event()

    def start(self) -> EngineInfo:
        """Start a process for each accelerator and wait until all are ready.

        Raises ModelLoadError with the reason if one of them cannot be started.
        """
        first = self._add_process(0)
        # The first process downloads the weights; the others load them from the disk.
        num_accelerators = first.prepared.result()
        others = [self._add_process(index) for index in range(1, num_accelerators)]
        for process in (first, *others):
            self._info = process.ready.result()
        return self.info

    @property
    def info(self) -> EngineInfo:
        """Description of the loaded engine. Raises EngineError before it is loaded."""
        if self._info is None:
            raise EngineError("the engine is not loaded yet")
        return self._info

    @property
    def fallbacks(self) -> tuple[Fallback, ...]:
        """Optimisations that any process has given up, in alphabetical order."""
        with self._lock:
            infos = [p.info for p in self._rooms if p.info is not None]
        return tuple(sorted({code for info in infos for code in info.fallbacks}))

    @property
    def num_slots(self) -> int:
        """Number of pages that all processes together can hold."""
        with self._lock:
            alive = [p for p in self._rooms if p.health is not Health.FAILED]
        return self.info.num_slots * len(alive)

    @property
    def health(self) -> Health:
        """Best health of all processes."""
        with self._lock:
            healths = {process.health for process in self._rooms}
        for health in BEST_FIRST:
            if health in healths:
                return health
        return Health.FAILED if healths else Health.STARTING

    @property
    def device_bytes(self) -> int | None:
        """Memory in use on all accelerators together; None on a CPU."""
        found = [p.device_bytes for p in self._rooms if p.device_bytes is not None]
        return sum(found) if found else None

    def wait_until_failed(self) -> None:
        """Wait until no process is left and none can be started again."""
        self._has_failed.wait()

    @property
    def pids(self) -> list[int]:
        """Process ids of the running processes."""
        return [process.pid for process in self._rooms if process.pid is not None]

    def num_output_tokens(self, sequence_id: str) -> int:
        """How far a page has got; 0 before it starts and after it ends."""
        return self._num_output_tokens.get(sequence_id, 0)

    def submit(self, sequence: Sequence) -> Future[Generation]:
        """Queue a page. The future never fails: errors are in the generation."""
        job = _Job(sequence, self._clock())
        with self._lock:
            self._jobs[sequence.id] = job
            if self.health is Health.FAILED:
                self._fail(job, EngineError("the engine cannot be started any more"))
            else:
                self._waiting.add(job)
                self._dispatch()
        return job.future

    def cancel(self, sequence_id: str) -> None:
        """Give a page up; its future ends as aborted at once."""
        with self._lock:
            job = self._jobs.get(sequence_id)
            if job is None:
                return
            self._waiting.remove(job)
            for room in self._rooms.values():
                if job in room.suspects:
                    room.suspects.remove(job)
                if sequence_id in room.running:
                    # It keeps its place until the process has let go of it.
                    room.process.send(Cancel(sequence_id))
            self._answer(job, Generation(sequence_id, FinishReason.ABORTED))

    def close(self) -> None:
        """End every process; pages not yet read end as aborted."""
        for sequence_id in list(self._jobs):
            self.cancel(sequence_id)
        for process in list(self._rooms):
            process.close()

    # Methods of ProcessListener; each process calls them from its own thread.

    def on_ready(self, process: EngineProcess) -> None:
        with self._lock:
            self._dispatch()

    def on_stalled(self, process: EngineProcess) -> None:
        """Move the suspects of this process to another one; its running pages stay."""
        with self._lock:
            self._move_suspects(self._rooms[process], [Health.READY])
            self._dispatch()

    def on_progress(self, num_output_tokens: dict[str, int]) -> None:
        with self._lock:
            self._num_output_tokens.update(
                (name, n) for name, n in num_output_tokens.items() if name in self._jobs
            )

    def on_ended(self, process: EngineProcess, generation: Generation) -> None:
        with self._lock:
            job = self._rooms[process].running.pop(generation.sequence_id, None)
            if job is not None:
                self._answer(job, generation)
            self._dispatch()

    def on_death(self, process: EngineProcess, cause: str) -> bool:
        with self._lock:
            room = self._rooms[process]
            held = list(room.running.values())
            is_page_suspect = len(held) == 1 and held[0].num_deaths > 0
            room.running.clear()
            for job in held:
                job.num_deaths += 1
                if job.future.done():
                    continue
                if job.num_deaths < MAX_DEATHS:
                    room.suspects.append(job)
                else:
                    sentence = f"the engine process {cause} while reading this page"
                    self._fail(job, EngineFailedError(f"{sentence}, twice"))
            if self.health is Health.FAILED:
                for job in list(self._jobs.values()):
                    self._fail(job, EngineError(f"the engine process {cause}"))
                self._has_failed.set()
            elif process.health is Health.FAILED:
                self._move_suspects(room, BEST_FIRST)
            self._dispatch()
            return not is_page_suspect

    def _move_suspects(self, room: _Room, healths: Iterable[Health]) -> None:
        """Move the suspects to another process; earlier `healths` are preferred."""
        others = [
            other
            for health in healths
            for other in self._rooms.values()
            if other is not room and other.process.health is health
        ]
        if others:
            others[0].suspects.extend(room.suspects)
            room.suspects.clear()

    def _add_process(self, index: int) -> EngineProcess:
        process = EngineProcess(
            self._settings,
            index,
            self,
            start_child=self._start_child,
            clock=self._clock,
            sleep=self._sleep,
            silence_seconds=self._silence_seconds,
        )
        with self._lock:
            self._rooms[process] = _Room(process)
        process.start()
        return process

    def _dispatch(self) -> None:
        """Send pages to all processes with free slots; suspects first, and alone."""
        for room in self._rooms.values():
            if room.process.health is Health.READY:
                if room.suspects:
                    if not room.running:
                        self._hand_over(room, room.suspects.popleft())
                elif not room.has_suspect:
                    while len(self._waiting) and len(room.running) < self._slots(room):
                        self._hand_over(room, self._waiting.take())
            room.process.set_busy(bool(room.running))

    def _slots(self, room: _Room) -> int:
        info = room.process.info
        return 0 if info is None else info.num_slots

    def _hand_over(self, room: _Room, job: _Job) -> None:
        room.running[job.sequence.id] = job
        room.process.send(Submit(job.sequence))

    def _fail(self, job: _Job, error: EngineError) -> None:
        self._answer(
            job,
            Generation(
                job.sequence.id,
                FinishReason.ERROR,
                num_attempts=0,
                error=PageError(error.code, error.detail),
            ),
        )

    def _answer(self, job: _Job, generation: Generation) -> None:
        self._jobs.pop(job.sequence.id, None)
        self._num_output_tokens.pop(job.sequence.id, None)
        if job.future.done():
            return  # It was cancelled, and the process has now stopped reading it.
        seconds = self._clock() - job.submitted_at
        job.future.set_result(
            replace(
                generation,
                num_attempts=generation.num_attempts + job.num_deaths,
                queue_seconds=max(0.0, seconds - generation.page_seconds),
            )
        )
