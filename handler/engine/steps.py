"""Timing of an engine's steps, and detection of a step that hangs.

A step is the work between two reads of the inbox: a forward pass, or the work before or
after it. The module is independent of torch and of processes.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "FIRST_STEP_SECONDS",
    "MIN_LIMIT_SECONDS",
    "RunningStep",
    "StepKind",
    "StepTimer",
]

MIN_LIMIT_SECONDS = 10.0
LIMIT_FACTOR = 10.0
FIRST_STEP_SECONDS = 60.0
"""Limit for the first step of each kind on an accelerator, which loads kernels."""
SLACK_SECONDS = 2.0
"""Time that a step may have run since the last tick."""


class StepKind(enum.StrEnum):
    """Kind of a step's work. Steps of one kind take comparable times."""

    SUBMIT = "submit"
    """Tokenise a page and prepare its image."""
    SCHEDULE = "schedule"
    """Work between two forward passes."""
    ENCODE = "encode"
    """Encode a slice of a page's image; `generate` encodes it with its prompt."""
    PREFILL = "prefill"
    """Compute a part of a prompt."""
    SHRINK = "shrink"
    """Replace the KV cache by a smaller one, and record the decode steps again."""
    DECODE = "decode"
    """Compute the next tokens of all pages that are being read."""


@dataclass(frozen=True, slots=True)
class RunningStep:
    """Step that an engine is running."""

    kind: StepKind
    size: int
    """Number of tokens; for `submit`, of pixels."""
    seconds: float
    """Time since it started, without the time in which the process was stopped."""
    limit_seconds: float | None
    """Time after which the step counts as hung; None if it is the first of its kind and
    has no limit."""

    @property
    def is_hung(self) -> bool:
        """True if the step has exceeded its limit."""
        return self.limit_seconds is not None and self.seconds > self.limit_seconds


@dataclass(frozen=True, slots=True)
class _StartedStep:
    kind: StepKind
    size: int
    started_at: float
    ticked_seconds: float
    limit_seconds: float | None


@dataclass(frozen=True, slots=True)
class _History:
    longest_seconds: float
    largest: int


class StepTimer:
    """Timer of one engine's steps.

    `start` and `stop` are called by the engine's thread, `tick` and
    `measure_running_step` by the thread that sends heartbeats.

    A step has hung after `min_limit_seconds` or 10 times the longest step of its kind,
    the larger of the two. A step larger than every step before it may take longer in
    proportion to its size. The first step of a kind has `first_limit_seconds`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        min_limit_seconds: float = MIN_LIMIT_SECONDS,
        first_limit_seconds: float | None = None,
    ) -> None:
        self._clock = clock
        self._min_limit_seconds = min_limit_seconds
        self._first_limit_seconds = first_limit_seconds
        self._histories: dict[StepKind, _History] = {}
        # Replaced as a whole, because two threads read it.
        self._started: _StartedStep | None = None
        self._ticked_seconds = 0.0
        self._has_ticked = False

    def start(self, kind: StepKind, size: int = 1) -> None:
        """Begin a step, and end the one before. For `size`, see `RunningStep`."""
        self.stop()
        self._started = _StartedStep(
            kind,
            size,
            self._clock(),
            self._ticked_seconds,
            self._choose_limit(kind, size),
        )

    def stop(self) -> None:
        """End the running step, if there is one, and remember how long it took.

        A time beyond the step's limit is remembered as the limit. The time is not
        remembered if the process was stopped during the step.
        """
        step, self._started = self._started, None
        if step is None:
            return
        seconds = self._clock() - step.started_at
        if seconds > self._max_run_seconds(step):
            return  # The process was stopped meanwhile, so the time is not the step's.
        before = self._histories.get(step.kind, _History(0.0, 1))
        if step.limit_seconds is not None:
            # Bounds the next limit: a step of minutes must not hide later hangs.
            seconds = min(seconds, step.limit_seconds)
        self._histories[step.kind] = _History(
            max(before.longest_seconds, seconds), max(before.largest, step.size)
        )

    def tick(self, seconds: float) -> None:
        """Add time in which the process ran; a stopped process adds none.

        Before the first tick, all time counts.
        """
        self._ticked_seconds += seconds
        self._has_ticked = True

    def measure_running_step(self) -> RunningStep | None:
        """Return the step that runs now, with its time so far; None while idle."""
        step = self._started
        if step is None:
            return None
        seconds = min(self._clock() - step.started_at, self._max_run_seconds(step))
        return RunningStep(step.kind, step.size, seconds, step.limit_seconds)

    def _max_run_seconds(self, step: _StartedStep) -> float:
        """Return the longest time that the process can have run in this step."""
        if not self._has_ticked:
            return float("inf")
        return self._ticked_seconds - step.ticked_seconds + SLACK_SECONDS

    def _choose_limit(self, kind: StepKind, size: int) -> float | None:
        """Return the limit of a step in seconds; None for no limit."""
        history = self._histories.get(kind)
        if history is None:
            return self._first_limit_seconds
        longest = history.longest_seconds * max(1.0, size / history.largest)
        return max(self._min_limit_seconds, LIMIT_FACTOR * longest)
