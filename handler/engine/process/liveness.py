"""Detection of stalled engine processes by their heartbeats."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from handler.engine.process.messages import FromEngine, Heartbeat
from handler.engine.steps import RunningStep

__all__ = ["SILENCE_SECONDS", "Liveness", "Stall"]

SILENCE_SECONDS = 10.0
"""A process without a message for this long has stalled: ten heartbeats are missing."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Evidence that an engine process has stalled."""

    reason: str
    step: RunningStep | None
    """The running step of its last heartbeat, if there was one."""


class Liveness:
    """Stall detector of one engine process, from the time when it is ready.

    Call `observe` at least every `max_gap_seconds`. A longer gap counts as
    `max_gap_seconds`, because it means that the worker itself was stopped.
    """

    def __init__(
        self,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        max_gap_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.silent_seconds = 0.0
        """Time since the process last sent any message."""
        self._silence_seconds = silence_seconds
        self._max_gap_seconds = max_gap_seconds
        self._clock = clock
        self._observed_at = clock()
        self._step: RunningStep | None = None

    def observe(self, message: FromEngine | None) -> None:
        """Record a message from the process; None means that none has arrived."""
        now = self._clock()
        if message is None:
            gap = now - self._observed_at
            self.silent_seconds += min(gap, self._max_gap_seconds)
        else:
            self.silent_seconds = 0.0
        self._observed_at = now
        if isinstance(message, Heartbeat):
            self._step = message.step

    @property
    def stall(self) -> Stall | None:
        """Stall of the process; None while it works or waits for work."""
        if self.silent_seconds > self._silence_seconds:
            return Stall(
                f"sent no heartbeat for {self.silent_seconds:.1f} s", self._step
            )
        step = self._step
        if step is not None and step.is_hung:
            return Stall(
                f"is in one {step.kind} step for {step.seconds:.1f} s, "
                f"longer than the limit of {step.limit_seconds:.1f} s",
                step,
            )
        return None
