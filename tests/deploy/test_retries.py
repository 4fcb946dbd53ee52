"""Retries of transient errors, and waits with a deadline."""

from __future__ import annotations

import pytest

from deploy.errors import (
    AccessDeniedError,
    BusyError,
    DeployError,
    NotFoundError,
    TransientError,
)
from deploy.retries import Attempts, Backoff, Poll, StatusLine, duration, retry

TWO_RETRIES = Backoff(num_retries=2, first_seconds=5.0, longest_seconds=5.0)


class UnreachableError(TransientError):
    """Subclass of TransientError that `deploy.retries` does not name."""


class Clock:
    """Clock that only `sleep` advances."""

    def __init__(self):
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.pauses.append(seconds)


class Service:
    """Service whose calls raise errors in order and then return "answer"."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.num_calls = 0

    def call(self):
        self.num_calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def call_with_retries(service, clock, backoff=TWO_RETRIES, **options):
    for attempt in Attempts(backoff, sleep=clock.sleep, **options):
        with attempt:
            answer = service.call()
    return answer


@pytest.mark.parametrize("kind", [TransientError, BusyError, UnreachableError])
def test_transient_errors_and_subclasses_are_retried(kind):
    service, clock = Service(kind("later"), kind("later")), Clock()

    answer = call_with_retries(service, clock)

    assert (answer, service.num_calls) == ("answer", 3)
    assert clock.pauses == [5.0, 5.0]


@pytest.mark.parametrize(
    "error", [DeployError("no"), AccessDeniedError("no"), ValueError("no")]
)
def test_other_errors_are_raised_at_once(error):
    service, clock = Service(error), Clock()

    with pytest.raises(type(error)):
        call_with_retries(service, clock)

    assert (service.num_calls, clock.pauses) == (1, [])


def test_last_error_is_raised_when_retries_are_used_up():
    service, clock = Service(*(TransientError(f"{n}") for n in range(9))), Clock()

    with pytest.raises(TransientError, match="2"):
        call_with_retries(service, clock)

    assert service.num_calls == 3


def test_caller_chooses_the_errors_that_are_retried():
    service, clock = Service(NotFoundError("not yet")), Clock()

    assert call_with_retries(service, clock, errors=NotFoundError) == "answer"


def test_cancelled_retry_raises_the_error():
    service, clock = Service(TransientError("later")), Clock()

    with pytest.raises(TransientError):
        call_with_retries(service, clock, is_cancelled=lambda: True)

    assert service.num_calls == 1


def test_errors_that_are_retried_are_reported():
    reported: list[DeployError] = []
    service = Service(TransientError("later"))

    call_with_retries(service, Clock(), on_error=reported.append)

    assert [error.message for error in reported] == ["later"]


def test_retry_returns_the_value_of_the_call():
    service, clock = Service(BusyError("later")), Clock()

    assert retry(service.call, TWO_RETRIES, sleep=clock.sleep) == "answer"


def test_pauses_double_up_to_the_longest():
    backoff = Backoff(num_retries=9, first_seconds=1.0, longest_seconds=10.0)

    pauses = [backoff.pause_seconds(n) for n in (1, 2, 3, 4, 5, 2000)]

    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 8.0), (0.5, 6.0), (1.0, 4.0)])
def test_jitter_shortens_a_pause(drawn, seconds):
    backoff = Backoff(9, first_seconds=8.0, longest_seconds=8.0, jitter=0.5)

    assert backoff.pause_seconds(1, lambda: drawn) == seconds


def create_poll(clock, printed_lines, timeout_seconds=None, backoff=TWO_RETRIES):
    return Poll(
        30.0,
        timeout_seconds,
        backoff,
        clock=clock,
        sleep=clock.sleep,
        say=printed_lines.append,
    )


def test_poll_goes_on_until_the_loop_is_left():
    clock = Clock()
    times = []

    for attempt in create_poll(clock, []):
        with attempt:
            times.append(clock.now)
            if len(times) == 3:
                break

    assert times == [100.0, 130.0, 160.0]


def test_last_look_of_a_poll_is_at_the_deadline():
    clock = Clock()
    poll = create_poll(clock, [], timeout_seconds=70)
    times = []

    for attempt in poll:
        with attempt:
            times.append(poll.elapsed_seconds)

    assert times == [0.0, 30.0, 60.0, 70.0]


def test_poll_ends_although_a_rounded_clock_misses_the_deadline():
    clock = Clock()
    # Near 2 to the power of 31, a float has steps of 2.4e-7.
    clock.now = 2_000_000_000.0
    poll = create_poll(clock, [], timeout_seconds=30 + 1e-7)

    times = []
    for attempt in poll:
        with attempt:
            times.append(poll.elapsed_seconds)

    assert times == [0.0, 30.0]


def test_poll_retries_transient_errors_sooner():
    clock = Clock()
    printed_lines: list[str] = []
    service = Service(UnreachableError("no connection"), BusyError("slow down"))

    for attempt in create_poll(clock, printed_lines):
        with attempt:
            service.call()
            break

    assert printed_lines == ["no connection; retrying", "slow down; retrying"]
    assert clock.pauses == [5.0, 5.0]


def test_success_of_a_poll_resets_its_number_of_failures():
    clock = Clock()
    error = TransientError("later")
    outcomes = [error, error, None, error, error, None]

    for attempt in create_poll(clock, []):
        with attempt:
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome
            if not outcomes:
                break

    assert clock.pauses == [5.0, 5.0, 30.0, 5.0, 5.0]


def test_poll_raises_when_its_retries_are_used_up():
    service = Service(*(TransientError(f"{n}") for n in range(9)))

    with pytest.raises(TransientError, match="2"):
        poll_until_success(service, Clock())


def poll_until_success(service, clock):
    for attempt in create_poll(clock, []):
        with attempt:
            service.call()
            return


def test_poll_without_retry_limit_ends_at_the_deadline():
    clock = Clock()
    endless = Backoff(num_retries=None, first_seconds=10.0, longest_seconds=10.0)

    for attempt in create_poll(clock, [], timeout_seconds=3600, backoff=endless):
        with attempt:
            raise TransientError("later")

    assert clock.now == 3700.0


def test_status_is_printed_on_change_and_each_minute():
    clock = Clock()
    printed_lines: list[str] = []
    poll = create_poll(clock, [])
    line = StatusLine(poll, printed_lines.append)

    for status in ["Creating", "Creating", "Creating", "InService"]:
        line.show(status)
        clock.sleep(30)

    assert printed_lines == [
        "[0 min 00 s] Creating",
        "[1 min 00 s] Creating",
        "[1 min 30 s] InService",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 min 00 s"), (125.9, "2 min 05 s"), (12_000, "3 h 20 min")],
)
def test_durations_have_two_units(seconds, words):
    assert duration(seconds) == words
