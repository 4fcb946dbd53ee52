"""Thread that sends the worker heartbeats with the engine's running step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from handler.engine.process.messages import Heartbeat
from handler.engine.steps import StepTimer

__all__ = ["BEAT_SECONDS", "HeartbeatThread"]

BEAT_SECONDS = 1.0


class HeartbeatThread:
    """Thread that sends a heartbeat every `beat_seconds` until it is stopped.

    No heartbeat is sent while the process is stopped by a signal, or while another
    thread holds the interpreter lock. `send` must be thread-safe.
    """

    def __init__(
        self,
        send: Callable[[Heartbeat], None],
        steps: StepTimer,
        beat_seconds: float = BEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._steps = steps
        self._beat_seconds = beat_seconds
        self._clock = clock
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread, which sends its first heartbeat after `beat_seconds`."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more heartbeats, without waiting for one that is being sent."""
        self._is_stopped.set()

    def _run(self) -> None:
        """Send heartbeats, and add the time in which the process ran to the timer."""
        self._steps.tick(0.0)
        last = self._clock()
        while not self._is_stopped.wait(self._beat_seconds):
            now = self._clock()
            # A longer gap means that the process was stopped.
            self._steps.tick(min(now - last, 2 * self._beat_seconds))
            last = now
            try:
                self._send(Heartbeat(self._steps.measure_running_step()))
            except OSError:
                return  # The worker has ended, so this process ends soon.
