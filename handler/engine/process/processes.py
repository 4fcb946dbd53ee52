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
from handler.engine.request import EngineOutput, EngineRequest, FinishReason
from handler.errors import EngineError, EngineFailedError
from handler.schema import PageError
from handler.settings import EngineSettings

__all__ = ["EngineProcesses"]

MAX_DEATHS = 2
"""Number of engine processes that may die with a page before the page fails."""

HEALTHS_BEST_FIRST = (Health.READY, Health.STALLED, Health.RESTARTING, Health.STARTING)


@dataclass(eq=False)
class _Job:
    """Page that was submitted and has no result yet."""

    request: EngineRequest
    submitted_at: float
    future: Future[EngineOutput] = field(default_factory=Future)
    num_deaths: int = 0
    """Number of processes that died while they ran this page."""

    @property
    def request_id(self) -> str:
        return self.request.request_id


@dataclass(eq=False)
class _ProcessState:
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
        self._states: dict[EngineProcess, _ProcessState] = {}
        self._waiting: PageQueue[_Job] = PageQueue()
        self._jobs: dict[str, _Job] = {}
        self._num_output_tokens: dict[str, int] = {}
        self._info: EngineInfo | None = None
        self._has_failed = threading.Event()

    def start(self) -> EngineInfo:
        """Start a process for each accelerator and wait until all are ready.

        Returns the description of the engine. Raises ModelLoadError with the reason if
        a process cannot be started.
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
            infos = [p.info for p in self._states if p.info is not None]
        return tuple(sorted({code for info in infos for code in info.fallbacks}))

    @property
    def max_pages_in_flight(self) -> int:
        """Maximum number of pages that all processes together are given at once.

        Raises EngineError before the engine is loaded.
        """
        with self._lock:
            alive = [p for p in self._states if p.health is not Health.FAILED]
        return self.info.max_pages_in_flight * len(alive)

    @property
    def health(self) -> Health:
        """Best health of all processes."""
        with self._lock:
            healths = {process.health for process in self._states}
        for health in HEALTHS_BEST_FIRST:
            if health in healths:
                return health
        return Health.FAILED if healths else Health.STARTING

    @property
    def device_bytes(self) -> int | None:
        """Memory in use on all accelerators together; None on a CPU."""
        reported = [p.device_bytes for p in self._states if p.device_bytes is not None]
        return sum(reported) if reported else None

    def wait_until_failed(self) -> None:
        """Wait until no process is left and none can be started again."""
        self._has_failed.wait()

    @property
    def pids(self) -> list[int]:
        """Process ids of the running processes."""
        return [process.pid for process in self._states if process.pid is not None]

    def count_output_tokens(self, engine_request_id: str) -> int:
        """Return the number of output tokens of a page that is being read, else 0."""
        return self._num_output_tokens.get(engine_request_id, 0)

    def submit(self, request: EngineRequest) -> Future[EngineOutput]:
        """Queue a page. The future never fails: errors are in the output."""
        job = _Job(request, self._clock())
        with self._lock:
            self._jobs[request.id] = job
            if self.health is Health.FAILED:
                self._fail(job, EngineError("the engine cannot be started any more"))
            else:
                self._waiting.add(job)
                self._dispatch()
        return job.future

    def cancel(self, engine_request_id: str) -> None:
        """Cancel a page; its future gets the result ABORTED at once.

        Pages that are unknown or have a result are ignored.
        """
        with self._lock:
            job = self._jobs.get(engine_request_id)
            if job is None:
                return
            self._waiting.remove(job)
            for state in self._states.values():
                if job in state.suspects:
                    state.suspects.remove(job)
                if engine_request_id in state.running:
                    # It counts as in flight until the process has stopped reading it.
                    state.process.send(Cancel(engine_request_id))
            self._resolve(job, EngineOutput(engine_request_id, FinishReason.ABORTED))

    def close(self) -> None:
        """End all processes; pages without a result end as ABORTED."""
        for engine_request_id in list(self._jobs):
            self.cancel(engine_request_id)
        for process in list(self._states):
            process.close()

    # Methods of ProcessListener; each process calls them from its own thread.

    def on_ready(self, process: EngineProcess) -> None:
        """Send waiting pages to all processes that are ready."""
        with self._lock:
            self._dispatch()

    def on_stalled(self, process: EngineProcess) -> None:
        """Move the suspects of this process to another one; its running pages stay."""
        with self._lock:
            self._move_suspects(self._states[process], [Health.READY])
            self._dispatch()

    def on_progress(self, num_output_tokens: dict[str, int]) -> None:
        """Store the number of output tokens of pages that have no result yet."""
        with self._lock:
            self._num_output_tokens.update(
                (name, n) for name, n in num_output_tokens.items() if name in self._jobs
            )

    def on_ended(self, process: EngineProcess, output: EngineOutput) -> None:
        """Set the result of a page, and send waiting pages to processes with room."""
        with self._lock:
            job = self._states[process].running.pop(output.engine_request_id, None)
            if job is not None:
                self._resolve(job, output)
            self._dispatch()

    def on_death(self, process: EngineProcess, cause: str) -> bool:
        """Take back the pages of a process that died, and read them again alone.

        A page with which MAX_DEATHS processes have died fails. If no process can be
        started any more, all pages fail. Returns False if the process ran only one
        page, with which a process had died before.
        """
        with self._lock:
            state = self._states[process]
            interrupted = list(state.running.values())
            is_page_suspect = len(interrupted) == 1 and interrupted[0].num_deaths > 0
            state.running.clear()
            for job in interrupted:
                job.num_deaths += 1
                if job.future.done():
                    continue
                if job.num_deaths < MAX_DEATHS:
                    state.suspects.append(job)
                else:
                    how = f"the engine process {cause} while reading this page, twice"
                    self._fail(job, EngineFailedError(how))
            if self.health is Health.FAILED:
                for job in list(self._jobs.values()):
                    self._fail(job, EngineError(f"the engine process {cause}"))
                self._has_failed.set()
            elif process.health is Health.FAILED:
                self._move_suspects(state, HEALTHS_BEST_FIRST)
            self._dispatch()
            return not is_page_suspect

    def _move_suspects(self, state: _ProcessState, healths: Iterable[Health]) -> None:
        """Move the suspects to another process; earlier `healths` are preferred.

        They stay if no other process has one of these healths.
        """
        others = [
            other
            for health in healths
            for other in self._states.values()
            if other is not state and other.process.health is health
        ]
        if others:
            others[0].suspects.extend(state.suspects)
            state.suspects.clear()

    def _add_process(self, index: int) -> EngineProcess:
        """Start the engine process of accelerator `index`, without waiting for it."""
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
            self._states[process] = _ProcessState(process)
        process.start()
        return process

    def _dispatch(self) -> None:
        """Send pages to all processes that have room; suspects first, and alone.

        Also tells each process whether it has pages, and must make progress.
        """
        for state in self._states.values():
            if state.process.health is Health.READY:
                if state.suspects:
                    if not state.running:
                        self._assign(state, state.suspects.popleft())
                elif not state.has_suspect:
                    limit = self._max_pages_of(state)
                    while len(self._waiting) and len(state.running) < limit:
                        self._assign(state, self._waiting.take())
            state.process.set_busy(bool(state.running))

    def _max_pages_of(self, state: _ProcessState) -> int:
        info = state.process.info
        return 0 if info is None else info.max_pages_in_flight

    def _assign(self, state: _ProcessState, job: _Job) -> None:
        state.running[job.request.id] = job
        state.process.send(Submit(job.request))

    def _fail(self, job: _Job, error: EngineError) -> None:
        """Set an output with an error as the result of a page."""
        self._resolve(
            job,
            EngineOutput(
                job.request.id,
                FinishReason.ERROR,
                num_attempts=0,
                error=PageError(error.code, error.detail),
            ),
        )

    def _resolve(self, job: _Job, output: EngineOutput) -> None:
        """Forget a page, and set its result unless it was cancelled before.

        Adds the attempts that ended with the death of a process, and the waiting time.
        """
        self._jobs.pop(job.request.id, None)
        self._num_output_tokens.pop(job.request.id, None)
        if job.future.done():
            return  # It was cancelled, and the process has now stopped reading it.
        seconds = self._clock() - job.submitted_at
        job.future.set_result(
            replace(
                output,
                num_attempts=output.num_attempts + job.num_deaths,
                queue_seconds=max(0.0, seconds - output.page_seconds),
            )
        )
