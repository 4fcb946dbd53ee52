"""Watches TorchServe while it runs, drains it, and says how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from server.output import Output

__all__ = ["Server", "StopRequests", "Supervisor"]

POLL_SECONDS = 0.1
SETTLE_SECONDS = 1.0
"""With nothing open for this long, the last answer has left."""
GRACE_SECONDS = 3.0
"""From the time pages must be read to the time their answers must have left."""
STOP_SECONDS = 3.0


class Server(Protocol):
    """What is needed of `TorchServe`."""

    @property
    def is_running(self) -> bool: ...
    @property
    def failure(self) -> str | None: ...
    def state(self) -> Mapping[str, str]: ...
    def num_open(self) -> int: ...
    def drain(self, seconds: float) -> None: ...
    def stop(self, timeout_seconds: float) -> None: ...
    def last_words(self) -> str: ...


class StopRequests:
    """How often we were asked to stop; the second time means: hurry.

    All that a signal handler does is to count.
    """

    def __init__(self) -> None:
        self.number = 0

    def add(self) -> None:
        self.number += 1


class Supervisor:
    """Runs until the server ends or is asked to, and returns the exit status.

    `is_alive` says of a process id whether there is such a process.
    """

    def __init__(
        self,
        server: Server,
        output: Output,
        stops: StopRequests,
        drain_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        is_alive: Callable[[str], bool] = lambda pid: Path("/proc", pid).exists(),
    ) -> None:
        self._server = server
        self._output = output
        self._drain_seconds = drain_seconds
        self._clock = clock
        self._sleep = sleep
        self._is_alive = is_alive
        self._stops = stops
        self._worker: str | None = None
        self._was_ready = False

    def run(self) -> int:
        """0 where the server was asked to stop, 1 where it ended by itself."""
        while not self._stops.number:
            if not self._server.is_running:
                return self._crashed()
            self._watch_worker()
            # A model that cannot be loaded at first never will be. Later, /ping says
            # 503 and whoever asks decides what to do with us.
            if not self._was_ready and (reason := self._server.failure):
                self._server.stop(STOP_SECONDS)
                return self._ended(reason)
            self._sleep(POLL_SECONDS)
        return self._drain()

    def _watch_worker(self) -> None:
        state = self._server.state()
        self._was_ready = self._was_ready or state.get("state") == "ready"
        worker = state.get("worker")
        if self._worker is not None and not self._is_alive(self._worker):
            self._output.event(
                "crash", logging.ERROR, what="worker", pid=int(self._worker)
            )
            self._worker = None
        if worker is not None and self._is_alive(worker):
            self._worker = worker

    def _drain(self) -> int:
        started = self._clock()
        ends_at = started + self._drain_seconds
        self._output.event(
            "drain",
            open=int(self._server.state().get("open", "0")),
            seconds=self._drain_seconds,
        )
        self._tell_drain(self._drain_seconds)
        has_hurried = False
        idle_since: float | None = None
        while self._server.is_running:
            now = self._clock()
            if self._stops.number > 1 and not has_hurried:
                has_hurried = True
                ends_at = min(ends_at, now)
                self._output.event("drain", seconds=0)
                self._tell_drain(0)
            if self._is_idle():
                idle_since = now if idle_since is None else idle_since
            else:
                idle_since = None
            if idle_since is not None and now - idle_since >= SETTLE_SECONDS:
                break
            if now >= ends_at + GRACE_SECONDS:
                break
            self._sleep(POLL_SECONDS)
        else:
            return self._crashed()
        num_open = int(self._server.state().get("open", "0"))
        self._server.stop(STOP_SECONDS)
        self._output.event(
            "stop",
            reason="asked to",
            unanswered=num_open,
            seconds=round(self._clock() - started, 3),
        )
        return 0

    def _tell_drain(self, seconds: float) -> None:
        try:
            self._server.drain(seconds)
        except OSError as error:
            # The drain still waits for open requests to finish.
            self._output.event("drain not told", logging.ERROR, why=str(error))

    def _is_idle(self) -> bool:
        """Whether nobody waits for an answer that could still come."""
        if self._server.num_open():
            # Also one whose body is still on its way: it is told to go elsewhere.
            return False
        state = self._server.state()
        worker = state.get("worker")
        if worker is None or not self._is_alive(worker):
            return True
        if state.get("state") == "starting":
            return True
        return state.get("drains") == "yes" and state.get("open") == "0"

    def _crashed(self) -> int:
        words = self._server.last_words()
        self._output.event("crash", logging.ERROR, what="frontend", how=words)
        self._server.stop(STOP_SECONDS)
        return self._ended(words)

    def _ended(self, reason: str) -> int:
        self._output.event("stop", logging.ERROR, reason=reason)
        return 1
