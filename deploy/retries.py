"""Retries of transient errors, and waits that poll until a deadline.

Every repeated call and every long wait of the deployment commands iterates over
`Attempts`:

    for attempt in Attempts(BACKOFF, sleep=sleep):
        with attempt:
            answer = call()

The `with` block ends normally, or its error is transient and the loop goes on, or the
error leaves the loop. A wait is the same loop with an interval and a deadline: it goes
on after a block that ended normally too, until the code leaves it with `return`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from deploy.errors import DeployError, TransientError

__all__ = [
    "DEFAULT_BACKOFF",
    "Attempt",
    "Attempts",
    "Backoff",
    "Poll",
    "StatusLine",
    "duration",
    "retry",
]

Answer = TypeVar("Answer")

REMINDER_SECONDS = 60.0
# A pause below this may not advance the clock, because of rounding.
CLOCK_RESOLUTION_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Backoff:
    """Number of retries in a row, and the pauses before them."""

    num_retries: int | None
    """None: as many as fit before the deadline of the wait."""
    first_seconds: float
    longest_seconds: float
    """Each pause is twice the one before it, up to this."""
    jitter: float = 0.0
    """Share of a pause that is random: threads must not all retry at once."""

    def pause_seconds(
        self, num_failures: int, draw: Callable[[], float] = random.random
    ) -> float:
        """Return the pause after `num_failures` failures in a row, at least one.

        `draw` returns a random number from 0 to 1 for the jitter.
        """
        doubled = self.first_seconds * 2.0 ** min(num_failures - 1, 32)
        return min(doubled, self.longest_seconds) * (1 - self.jitter * draw())

    def allows(self, num_failures: int) -> bool:
        """Return True if a call that failed `num_failures` times may be repeated."""
        return self.num_retries is None or num_failures <= self.num_retries


DEFAULT_BACKOFF = Backoff(num_retries=6, first_seconds=5.0, longest_seconds=5.0)
"""Backoff that survives an outage of half a minute, after botocore's own retries."""


class Attempt:
    """Context manager of one call.

    It suppresses an error after which the call is repeated. Then `has_failed` is True.
    """

    def __init__(self, record_failure: Callable[[DeployError], bool]) -> None:
        """Suppress the errors for which `record_failure` returns True."""
        self._record_failure = record_failure
        self.has_failed = False

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.has_failed = isinstance(error, DeployError) and self._record_failure(error)
        return self.has_failed


class Attempts:
    """Attempts at one call, until it succeeds or its error is raised.

    The iteration sleeps before each further attempt.
    """

    def __init__(
        self,
        backoff: Backoff,
        *,
        sleep: Callable[[float], None],
        errors: type[DeployError] = TransientError,
        is_cancelled: Callable[[], bool] = lambda: False,
        on_error: Callable[[DeployError], None] = lambda error: None,
    ) -> None:
        """Retry after `errors` and their subclasses.

        `on_error` is called with each error that is retried. Nothing is retried once
        `is_cancelled` returns True.
        """
        self._backoff = backoff
        self._sleep = sleep
        self._errors = errors
        self._is_cancelled = is_cancelled
        self._on_error = on_error
        self._num_failures = 0

    def __iter__(self) -> Iterator[Attempt]:
        while True:
            attempt = Attempt(self._record_failure)
            yield attempt
            if not attempt.has_failed:
                return
            self._sleep(self._backoff.pause_seconds(self._num_failures))

    def _record_failure(self, error: DeployError) -> bool:
        """Count and report an error that is retried, and return True.

        Returns False for an error of another class, after cancellation, and if no
        retry is left. Such an error is raised.
        """
        if not isinstance(error, self._errors) or self._is_cancelled():
            return False
        self._num_failures += 1
        if not self._backoff.allows(self._num_failures):
            return False
        self._on_error(error)
        return True


def retry(
    call: Callable[[], Answer],
    backoff: Backoff,
    *,
    sleep: Callable[[float], None],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Answer:
    """Return the value of `call`, which is repeated after transient errors.

    Raises a transient error once `backoff` allows no further retry or `is_cancelled`
    returns True, and any other error at once.
    """
    for attempt in Attempts(backoff, sleep=sleep, is_cancelled=is_cancelled):
        with attempt:
            return call()
    raise AssertionError("attempts end with a value or an error")


class Poll(Attempts):
    """Attempts to read a changing state, at an interval until a deadline.

    The loop over it ends at the deadline and not before: code after the loop raises
    WaitTimeoutError. The last pause is shortened so that the last attempt is at
    the deadline. After a transient error the next attempt follows sooner, and a
    success resets the number of failures in a row.
    """

    def __init__(
        self,
        interval_seconds: float,
        timeout_seconds: float | None,
        backoff: Backoff,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        say: Callable[[str], None],
    ) -> None:
        """Poll every `interval_seconds`, for at most `timeout_seconds` from now.

        A timeout of None polls without end. `say` gets a line for each transient error.
        """
        super().__init__(
            backoff,
            sleep=sleep,
            on_error=lambda error: say(f"{error.message}; retrying"),
        )
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._started = clock()

    @property
    def elapsed_seconds(self) -> float:
        return self._clock() - self._started

    def __iter__(self) -> Iterator[Attempt]:
        while True:
            attempt = Attempt(self._record_failure)
            yield attempt
            pause = self._interval_seconds
            if attempt.has_failed:
                pause = self._backoff.pause_seconds(self._num_failures)
            else:
                self._num_failures = 0
            if self._timeout_seconds is not None:
                left = self._timeout_seconds - self.elapsed_seconds
                if left < CLOCK_RESOLUTION_SECONDS:
                    return
                pause = min(pause, left)
            self._sleep(pause)


class StatusLine:
    """Printer of a wait's status: when it changes, and again after each minute."""

    def __init__(self, poll: Poll, say: Callable[[str], None]) -> None:
        self._poll = poll
        self._say = say
        self._status = ""
        self._printed_seconds = poll.elapsed_seconds

    def show(self, status: str, text: str | None = None) -> None:
        """Print `text` with the elapsed time if `status` changed or a minute passed.

        Without `text` the status itself is printed.
        """
        elapsed = self._poll.elapsed_seconds
        if (
            status != self._status
            or elapsed - self._printed_seconds >= REMINDER_SECONDS
        ):
            self._say(f"[{duration(elapsed)}] {status if text is None else text}")
            self._status, self._printed_seconds = status, elapsed


def duration(seconds: float) -> str:
    """Return a duration in words, such as "2 min 05 s" or "3 h 20 min"."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest:02} s"
