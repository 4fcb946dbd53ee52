"""One engine process, kept alive: started, fed, listened to, started again."""

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
    Prepared,
    Progress,
    Ready,
    ToEngine,
)
from handler.engine.process.start_failures import explain_death
from handler.engine.request import Generation
from handler.errors import ModelLoadError
from handler.processes.child import Child
from handler.settings import EngineSettings

__all__ = ["EngineChild", "EngineProcess", "Health", "Listener", "StartChild"]

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
CHECK_SECONDS = 180.0
"""Limit of a check of the self-test. Recording all steps, the longest part, takes a few
seconds (estimate)."""
TRANSIENT_SECONDS = 5.0
"""Wait after a transient failure of a start; it grows by as much with each failure. A
killed process frees its GPU memory within a few seconds (estimate)."""


class Health(enum.StrEnum):
    """Whether a page could be read now."""

    STARTING = "starting"
    READY = "ready"
    STALLED = "stalled"
    """The process sends no heartbeats or hangs in one step; it may recover."""
    RESTARTING = "restarting"
    FAILED = "failed"


class EngineChild(Protocol):
    """What is needed of a process; `Child` is the real one."""

    connection: Connection

    @property
    def pid(self) -> int: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...
    def describe_end(self) -> str: ...


StartChild = Callable[[EngineSettings, int], EngineChild]


def start_engine_child(settings: EngineSettings, index: int) -> EngineChild:
    """An engine process for accelerator `index`: the one that waits, or a new one."""
    if index == 0 and settings.early_engine is not None:
        waiting = take_over(settings.early_engine, settings)
        if waiting is not None:
            return waiting
    return Child(loop.main, settings, index)


class Listener(Protocol):
    """Who wants to know what happens to a process."""

    def on_ready(self, process: EngineProcess) -> None: ...
    def on_stalled(self, process: EngineProcess) -> None: ...
    def on_progress(self, num_output_tokens: dict[str, int]) -> None: ...
    def on_ended(self, process: EngineProcess, generation: Generation) -> None: ...
    def on_death(self, process: EngineProcess, words: str) -> bool:
        """Take the process's pages back.

        Return False if a page that had killed a process before died with it alone.
        """


class EngineProcess:
    """Keeps one engine process running and carries messages both ways.

    `prepared` holds the number of accelerators and `ready` what was loaded, or
    ModelLoadError if the first start failed. Later starts, and first ones that failed
    for a transient reason, are tried `max_failed_starts` times in a row, a little later
    each time. After a process died during a check of its self-test, or repeatedly on an
    accelerator, the next one starts without an optimisation, see `Degradation`. A death
    in a check is no failed start.

    A process that stalls keeps its pages, and is ready again when it goes on. After
    `stall_seconds` it is replaced.
    """

    def __init__(
        self,
        settings: EngineSettings,
        index: int,
        listener: Listener,
        *,
        start_child: StartChild = start_engine_child,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.health = Health.STARTING
        self.device_bytes: int | None = None
        """Memory of its accelerator that was in use a moment ago."""
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
        """The operating system's number of the process, while there is one."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Begin, in the background."""
        self._watcher.start()

    def send(self, message: ToEngine) -> None:
        """Queue a message; it is lost if the process dies, as `on_death` tells."""
        self._outbox.put(message)

    def set_busy(self, is_busy: bool) -> None:
        """Set whether the process has pages and so must make progress."""
        if is_busy and not self._is_busy:
            self._last_progress = self._clock()
        self._is_busy = is_busy

    def close(self) -> None:
        """End the process for good."""
        self._is_closed = True
        while self._watcher.is_alive():
            # More than once: a new one may just have been started.
            if (child := self._child) is not None:
                child.kill()
            self._watcher.join(0.1)

    def _watch(self) -> None:
        num_failed = 0
        while not self._is_closed:
            is_first = not self.ready.done()
            words, was_ready = self._run_once()
            check = None if was_ready or self._is_closed else self._check
            if check is not None and self._degradation.note_check_death(check, words):
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
                        "how": words,
                        "then": self.health,
                    },
                )
            is_engine_suspect = self._listener.on_death(self, words)
            if was_ready and is_engine_suspect and not self._is_closed:
                self._degradation.note_death(self.info, words)
            if self.health is Health.FAILED:
                self._fail_start(explain_death(words))
                return
            self._sleep(num_failed * (TRANSIENT_SECONDS if self._is_transient else 1))

    def _run_once(self) -> tuple[str, bool]:
        """One process from start to end; how it ended, and whether it was ready."""
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
            words = self._listen(child)
            was_ready = self.health in (Health.READY, Health.STALLED)
            # Before anything slow: from here on, nothing is handed to it.
            self.health = Health.RESTARTING
            return words, was_ready
        finally:
            # In this order: a pipe closed under a writer could be somebody else's
            # file by the time it writes.
            self._child = None
            child.kill()
            outbox.put(None)
            feeder.join()
            child.close()

    def _listen(self, child: EngineChild) -> str:
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
                case Progress(num_output_tokens, device_bytes):
                    self.device_bytes = device_bytes
                    self._listener.on_progress(num_output_tokens)
                case Ended(generation):
                    self._listener.on_ended(self, generation)
            if liveness is not None:
                liveness.observe(message)
                self._set_stall(liveness.stall)
                if words := self._reason_to_replace(liveness):
                    return words
            elif (
                self._check is not None
                and self._clock() - self._check_began_at > CHECK_SECONDS
            ):
                return f"did not end the check {self._check} in {CHECK_SECONDS:g} s"
            elif self._clock() - started > self._settings.load_seconds:
                self._check = None  # it has not failed: what came before was slow
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
        # This holds without pages too, because a stalled process gets none.
        if liveness.silent_seconds > max(patience, self._silence_seconds):
            return f"sent no heartbeat for {liveness.silent_seconds:.0f} s"
        return None

    def _fail_start(self, reason: str) -> None:
        for future in (self.prepared, self.ready):
            if not future.done():
                future.set_exception(ModelLoadError(reason))


def _feed(connection: Connection, outbox: queue.SimpleQueue[ToEngine | None]) -> None:
    """Send what is queued; pages are large, so nobody else should wait for that."""
    while (message := outbox.get()) is not None:
        try:
            connection.send(message)
        except OSError:
            return
