"""Supervision of one engine process: start, messages, health and restart."""

from __future__ import annotations

import enum
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Protocol

from handler.engine.engine import EngineInfo
from handler.engine.fallbacks import Check
from handler.engine.process import loop
from handler.engine.process.degradation import Degradation
from handler.engine.process.early import take_over
from handler.engine.process.liveness import SILENCE_SECONDS, Liveness, Stall
from handler.engine.process.messages import (
    Checking,
    Ended,
    FromEngine,
    Heartbeat,
    LoadFailed,
    PageProgress,
    Prepared,
    Ready,
    ToEngine,
)
from handler.engine.process.start_failures import explain_death
from handler.engine.request import EngineOutput
from handler.errors import ModelLoadError
from handler.processes.child import Child
from handler.settings import EngineSettings

__all__ = ["EngineChild", "EngineProcess", "Health", "ProcessListener", "StartChild"]

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
CHECK_SECONDS = 180.0
"""Time limit of a check of the self-test. The longest part, recording all steps, takes
a few seconds (estimate)."""
TRANSIENT_SECONDS = 5.0
"""Delay after a start that failed for a transient reason, times the number of failed
starts. A killed process frees its GPU memory within a few seconds (estimate)."""


class Health(enum.StrEnum):
    """State of an engine process. Pages are read only while it is READY."""

    STARTING = "starting"
    READY = "ready"
    STALLED = "stalled"
    """The process sends no heartbeats or hangs in one step; it may recover."""
    RESTARTING = "restarting"
    FAILED = "failed"


class EngineChild(Protocol):
    """Interface of a child process that runs an engine, such as `Child`."""

    connection: Connection

    @property
    def pid(self) -> int: ...
    def kill(self) -> None:
        """Kill the process; the connection stays open."""

    def close(self) -> None:
        """Close the connection, which ends the process."""

    def describe_end(self) -> str:
        """Describe how the process ended, such as "was ended by SIGKILL"."""


StartChild = Callable[[EngineSettings, int], EngineChild]


def start_engine_child(settings: EngineSettings, index: int) -> EngineChild:
    """Start an engine process for accelerator `index`.

    For accelerator 0, takes over the process that was started before the worker, if
    there is one with the same settings.
    """
    if index == 0 and settings.early_engine is not None:
        early = take_over(settings.early_engine, settings)
        if early is not None:
            return early
    return Child(loop.main, settings, index)


class ProcessListener(Protocol):
    """Interface for the events of engine processes.

    Each process calls these methods from a thread of its own.
    """

    def on_ready(self, process: EngineProcess) -> None:
        """Send pages to a process that is ready, after its start or after a stall."""

    def on_stalled(self, process: EngineProcess) -> None:
        """Send no more pages to a process that has stalled."""

    def on_progress(self, num_output_tokens: dict[str, int]) -> None:
        """Store the number of output tokens so far of pages, by engine request id."""

    def on_ended(self, process: EngineProcess, output: EngineOutput) -> None:
        """Handle the result of a page."""

    def on_death(self, process: EngineProcess, cause: str) -> bool:
        """Take back the pages of a process that has ended; `cause` describes how.

        Return False if the process ran only one page, and that page had already killed
        a process before, so that the page is at fault and not the engine.
        """


class EngineProcess:
    """Supervisor that keeps one engine process running and exchanges messages with it.

    `prepared` is a future of the number of accelerators, and `ready` of the loaded
    engine; both fail with ModelLoadError if the first start fails. A first start that
    failed for a transient reason, and any later start, is tried `max_failed_starts`
    times in a row, with an increasing delay. After a process died during a check of its
    self-test, or repeatedly on an accelerator, the next one starts without an
    optimisation, see `Degradation`. A death during a check is not a failed start.

    A process that stalls keeps its pages, and is ready again once it continues. After
    `stall_seconds` it is replaced.
    """

    def __init__(
        self,
        settings: EngineSettings,
        index: int,
        listener: ProcessListener,
        *,
        start_child: StartChild = start_engine_child,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.health = Health.STARTING
        self.device_bytes: int | None = None
        """Memory in use on its accelerator, as last reported; None on a CPU."""
        self.prepared: Future[int] = Future()
        self.ready: Future[EngineInfo] = Future()
        self._settings = settings
        self._degradation = Degradation(settings, index, clock)
        self._index = index
        self._listener = listener
        self._start_child = start_child
        self._clock = clock
        self._sleep = sleep
        self._silence_seconds = silence_seconds
        self._stalled_at = 0.0
        self._check: Check | None = None
        self._check_began_at = 0.0
        self._is_transient = False
        self.info: EngineInfo | None = None
        """Description of the engine in the latest process that was ready."""
        self._child: EngineChild | None = None
        self._outbox: queue.SimpleQueue[ToEngine | None] = queue.SimpleQueue()
        self._is_busy = False
        self._last_progress = clock()
        self._is_closed = False
        self._watcher = threading.Thread(
            target=self._watch, name=f"engine-{index}", daemon=True
        )

    @property
    def pid(self) -> int | None:
        """Process id; None while no process runs."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the process and its supervision in the background."""
        self._watcher.start()

    def send(self, message: ToEngine) -> None:
        """Queue a message. It is lost if the process dies; `on_death` reports that."""
        self._outbox.put(message)

    def set_busy(self, is_busy: bool) -> None:
        """Set whether the process has pages and must therefore make progress."""
        if is_busy and not self._is_busy:
            self._last_progress = self._clock()
        self._is_busy = is_busy

    def close(self) -> None:
        """Kill the process for good, and wait until its supervision has ended."""
        self._is_closed = True
        while self._watcher.is_alive():
            # Repeatedly, because the watcher may have just started a new process.
            if (child := self._child) is not None:
                child.kill()
            self._watcher.join(0.1)

    def _watch(self) -> None:
        """Run one process after another until `close`, or until no start is left.

        Reports each end to the listener and logs it, and waits before the next start.
        """
        num_failed = 0
        while not self._is_closed:
            is_first = not self.ready.done()
            cause, was_ready = self._run_once()
            check = None if was_ready or self._is_closed else self._check
            if check is not None and self._degradation.record_check_death(check, cause):
                continue
            num_failed = 0 if was_ready else num_failed + 1
            is_hopeless = is_first and not was_ready and not self._is_transient
            if is_hopeless or num_failed >= self._settings.max_failed_starts:
                self.health = Health.FAILED
            if not self._is_closed:
                logger.error(
                    "crash",
                    extra={
                        "what": "engine",
                        "engine": self._index,
                        "how": cause,
                        "then": self.health,
                    },
                )
            is_engine_suspect = self._listener.on_death(self, cause)
            if was_ready and is_engine_suspect and not self._is_closed:
                self._degradation.record_death(self.info, cause)
            if self.health is Health.FAILED:
                self._fail_start(explain_death(cause))
                return
            self._sleep(num_failed * (TRANSIENT_SECONDS if self._is_transient else 1))

    def _run_once(self) -> tuple[str, bool]:
        """Run one process to its end; return how it ended, and whether it was ready."""
        outbox: queue.SimpleQueue[ToEngine | None] = queue.SimpleQueue()
        self._outbox = outbox
        self._check, self._is_transient = None, False
        try:
            child = self._child = self._start_child(
                self._degradation.settings, self._index
            )
        except OSError as error:
            return f"could not be started: {error}", False
        feeder = threading.Thread(
            target=_feed, args=(child.connection, outbox), daemon=True
        )
        feeder.start()
        self._last_progress = self._clock()
        try:
            cause = self._listen(child)
            was_ready = self.health in (Health.READY, Health.STALLED)
            # Set before the slow clean-up, so that it gets no further pages.
            self.health = Health.RESTARTING
            return cause, was_ready
        finally:
            # The feeder must end before the pipe is closed: its file descriptor could
            # be reused for another file, into which the feeder would then write.
            self._child = None
            child.kill()
            outbox.put(None)
            feeder.join()
            child.close()

    def _listen(self, child: EngineChild) -> str:
        """Handle a process's messages; return how it ended or why to replace it."""
        liveness: Liveness | None = None
        started = self._clock()
        while True:
            message: FromEngine | None = None
            try:
                if child.connection.poll(POLL_SECONDS):
                    message = child.connection.recv()
            except (EOFError, OSError):
                return child.describe_end()
            if message is not None and not isinstance(message, Heartbeat):
                self._last_progress = self._clock()
            match message:
                case Prepared(num_accelerators):
                    if not self.prepared.done():
                        self.prepared.set_result(num_accelerators)
                case Checking(check):
                    self._check, self._check_began_at = check, self._clock()
                case Ready(info):
                    self._check = None
                    given_up = self._degradation.fallbacks
                    info = replace(info, fallbacks=(*given_up, *info.fallbacks))
                    self.info = info
                    liveness = Liveness(
                        silence_seconds=self._silence_seconds,
                        max_gap_seconds=2 * POLL_SECONDS,
                        clock=self._clock,
                    )
                    self.health = Health.READY
                    if not self.ready.done():
                        self.ready.set_result(info)
                    self._listener.on_ready(self)
                case LoadFailed(reason, is_transient):
                    self._check, self._is_transient = None, is_transient
                    if not is_transient:
                        self._fail_start(reason)
                    return f"could not load the model: {reason}"
                case PageProgress(num_output_tokens, device_bytes):
                    self.device_bytes = device_bytes
                    self._listener.on_progress(num_output_tokens)
                case Ended(output):
                    self._listener.on_ended(self, output)
            if liveness is not None:
                liveness.observe(message)
                self._set_stall(liveness.stall)
                if cause := self._reason_to_replace(liveness):
                    return cause
            elif (
                self._check is not None
                and self._clock() - self._check_began_at > CHECK_SECONDS
            ):
                return f"did not end the check {self._check} in {CHECK_SECONDS:g} s"
            elif self._clock() - started > self._settings.load_seconds:
                # The check is not at fault: the steps before it were slow.
                self._check = None
                return f"was not ready after {self._settings.load_seconds:g} s"

    def _set_stall(self, stall: Stall | None) -> None:
        """Change between ready and stalled, and report each change once."""
        if stall is not None and self.health is Health.READY:
            self.health = Health.STALLED
            self._stalled_at = self._clock()
            facts: dict[str, object] = {"engine": self._index, "how": stall.reason}
            if stall.step is not None:
                facts["step"] = stall.step.kind
                facts["size"] = stall.step.size
                facts["seconds"] = round(stall.step.seconds, 3)
                facts["limit_seconds"] = stall.step.limit_seconds
            logger.error("stall", extra=facts)
            self._listener.on_stalled(self)
        elif stall is None and self.health is Health.STALLED:
            self.health = Health.READY
            seconds = round(self._clock() - self._stalled_at, 3)
            logger.info("recovery", extra={"engine": self._index, "seconds": seconds})
            self._listener.on_ready(self)

    def _reason_to_replace(self, liveness: Liveness) -> str | None:
        """Return the reason to kill the process; None if it may continue."""
        patience = self._settings.stall_seconds
        idle_seconds = self._clock() - self._last_progress
        if self._is_busy and idle_seconds > patience:
            return f"made no progress for {idle_seconds:.0f} s"
        # Checked without pages too, because a stalled process gets none.
        if liveness.silent_seconds > max(patience, self._silence_seconds):
            return f"sent no heartbeat for {liveness.silent_seconds:.0f} s"
        return None

    def _fail_start(self, reason: str) -> None:
        """Fail `prepared` and `ready` with a ModelLoadError unless they are done."""
        for future in (self.prepared, self.ready):
            if not future.done():
                future.set_exception(ModelLoadError(reason))


def _feed(connection: Connection, outbox: queue.SimpleQueue[ToEngine | None]) -> None:
    """Send queued messages in a thread of their own, because pages are large."""
    while (message := outbox.get()) is not None:
        try:
            connection.send(message)
        except OSError:
            return
