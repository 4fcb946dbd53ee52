"""Supervisor of a running TorchServe: it reports crashes and drains the server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from server.output import EventWriter

__all__ = ["Server", "StopRequests", "Supervisor"]

POLL_SECONDS = 0.1
SETTLE_SECONDS = 1.0
"""Time without open requests after which the last answer has been sent."""
GRACE_SECONDS = 3.0
"""Time after the deadline for pages in which their answers must be sent."""
STOP_SECONDS = 3.0


class Server(Protocol):
    """Part of `TorchServe` that the supervisor uses."""

    @property
    def is_running(self) -> bool: ...
    @property
    def failure(self) -> str | None: ...
    def read_state(self) -> Mapping[str, str]: ...
    def count_open_requests(self) -> int: ...
    def drain(self, seconds: float) -> None: ...
    def stop(self, timeout_seconds: float) -> None: ...
    def describe_exit(self) -> str: ...


class StopRequests:
    """Counter of stop signals, which the supervisor polls.

    Signal handlers call `add`. The second signal shortens the drain.
    """

    def __init__(self) -> None:
        self.num_signals = 0

    def add(self) -> None:
        self.num_signals += 1


class Supervisor:
    """Loop that watches a server until it fails, or drains and stops it on a signal.

    `is_alive` takes a process id and returns True if the process exists.
    """

    def __init__(
        self,
        server: Server,
        output: EventWriter,
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
        """Watch the server, stop it, and return the exit status.

        Crashes, the drain and the end are written to `output` as events. The status is
        0 if a signal stopped the server, and 1 if the server failed.
        """
        while not self._stops.num_signals:
            if not self._server.is_running:
                return self._report_crash()
            self._watch_worker()
            # A model that fails to load the first time will fail again, so stop. If a
            # later load fails, /ping answers 503 and the platform decides what to do.
            if not self._was_ready and (reason := self._server.failure):
                self._server.stop(STOP_SECONDS)
                return self._report_end(reason)
            self._sleep(POLL_SECONDS)
        return self._drain()

    def _watch_worker(self) -> None:
        state = self._server.read_state()
        self._was_ready = self._was_ready or state.get("state") == "ready"
        worker = state.get("worker")
        if self._worker is not None and not self._is_alive(self._worker):
            self._output.write_event(
                "crash", logging.ERROR, what="worker", pid=int(self._worker)
            )
            self._worker = None
        if worker is not None and self._is_alive(worker):
            self._worker = worker

    def _drain(self) -> int:
        started = self._clock()
        ends_at = started + self._drain_seconds
        self._output.write_event(
            "drain",
            open=int(self._server.read_state().get("open", "0")),
            seconds=self._drain_seconds,
        )
        self._send_drain(self._drain_seconds)
        has_hurried = False
        idle_since: float | None = None
        while self._server.is_running:
            now = self._clock()
            if self._stops.num_signals > 1 and not has_hurried:
                has_hurried = True
                ends_at = min(ends_at, now)
                self._output.write_event("drain", seconds=0)
                self._send_drain(0)
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
            return self._report_crash()
        num_open = int(self._server.read_state().get("open", "0"))
        self._server.stop(STOP_SECONDS)
        self._output.write_event(
            "stop",
            reason="asked to",
            unanswered=num_open,
            seconds=round(self._clock() - started, 3),
        )
        return 0

    def _send_drain(self, seconds: float) -> None:
        try:
            self._server.drain(seconds)
        except OSError as error:
            # The drain still waits for open requests to finish.
            self._output.write_event("drain not told", logging.ERROR, why=str(error))

    def _is_idle(self) -> bool:
        """Return True if no client waits for an answer that can still be given."""
        if self._server.count_open_requests():
            # This includes requests whose body is still being sent: they get a 503.
            return False
        state = self._server.read_state()
        worker = state.get("worker")
        if worker is None or not self._is_alive(worker):
            return True
        if state.get("state") == "starting":
            return True
        return state.get("drains") == "yes" and state.get("open") == "0"

    def _report_crash(self) -> int:
        words = self._server.describe_exit()
        self._output.write_event("crash", logging.ERROR, what="frontend", how=words)
        self._server.stop(STOP_SECONDS)
        return self._report_end(words)

    def _report_end(self, reason: str) -> int:
        self._output.write_event("stop", logging.ERROR, reason=reason)
        return 1
