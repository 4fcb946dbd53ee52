"""Processes that are killed, stopped or preempted, and calls that restart."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest

from handler.errors import OverloadedError, UnreadableDocumentError
from handler.processes.pool import (
    CallContext,
    CallCrashedError,
    CallKilledError,
    CallStalledError,
    CallTimeoutError,
    DocumentGivenUpError,
    Pool,
)
from handler.reading.decode import Decoder
from tests.handler.processes import called
from tests.handler.processes.called import (
    Token,
    get_niceness,
    keep_core_busy,
    keep_core_busy_once,
    signal_myself,
    signal_myself_once,
    take_token,
)
from tests.waiting import until

SECONDS = 20.0
"""Time limit that no call here reaches."""
STALL_SECONDS = 0.5
BURN_SECONDS = 1.0


@pytest.fixture
def make_pool():
    """Function that starts a pool, which is closed after the test."""
    pools: list[Pool] = []

    def make(size: int = 1) -> Pool:
        pools.append(
            Pool(
                size,
                modules=[called.__name__],
                name="decoder",
                stall_seconds=STALL_SECONDS,
            )
        )
        # Wait until its processes have started, so that no test measures the start.
        for _ in range(size):
            pools[-1].call(SECONDS, os.getpid)
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def token():
    token = Token()
    yield token
    token.close()


class RecordCollector(logging.Handler):
    """Log handler that collects the records, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def end_records():
    """Log records of processes that the pool ended or lost, in order."""
    handler = RecordCollector()
    logger = logging.getLogger("handler.processes.pool")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


def call(pool: Pool, function, *args, context=None, seconds=SECONDS):
    """Run a restartable call with a time limit of `seconds` and without a deadline."""
    return pool.call_restartable(
        context or CallContext(), math.inf, seconds, function, *args
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_a_call_that_lost_its_process_is_tried_again(make_pool, token, number):
    answer = call(make_pool(), signal_myself_once, int(number), token.descriptor)

    assert answer == "done"


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGKILL, CallKilledError),
        (signal.SIGTERM, CallKilledError),
        (signal.SIGSTOP, CallStalledError),
        (signal.SIGSEGV, CallCrashedError),
        (signal.SIGABRT, CallCrashedError),
    ],
)
def test_a_call_that_loses_two_processes_fails(make_pool, number, error):
    pool = make_pool()

    with pytest.raises(error) as caught:
        call(pool, signal_myself, int(number))

    assert type(caught.value) is error
    assert call(pool, abs, -3) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_external_signals_are_not_an_error_of_the_document(make_pool, number):
    decoder = Decoder(make_pool(), SECONDS, time.monotonic)

    with pytest.raises(OverloadedError, match="killed or stopped twice"):
        decoder.run(CallContext("document"), None, signal_myself, int(number))


def test_crashes_of_two_processes_make_a_document_unreadable(make_pool):
    decoder = Decoder(make_pool(), SECONDS, time.monotonic)

    with pytest.raises(
        UnreadableDocumentError, match=r"^the decoder crashed on this document$"
    ):
        decoder.run(CallContext("document"), None, signal_myself, int(signal.SIGSEGV))


def test_a_process_stopped_while_idle_only_delays_a_call(make_pool):
    pool = make_pool()
    pid = pool.call(SECONDS, os.getpid)
    os.kill(pid, signal.SIGSTOP)

    assert call(pool, os.getpid) != pid


def test_a_process_that_works_for_long_is_not_stalled(make_pool):
    pool = make_pool()

    call(pool, keep_core_busy, 3 * STALL_SECONDS)
    with pytest.raises(CallTimeoutError) as caught:
        call(pool, keep_core_busy, seconds=3 * STALL_SECONDS)

    assert type(caught.value) is CallTimeoutError


def test_a_document_is_given_up_after_two_timeouts(make_pool, token):
    pool, context = make_pool(), CallContext("document")
    for _ in range(2):
        with pytest.raises(CallTimeoutError):
            call(pool, keep_core_busy, context=context, seconds=0.2)

    with pytest.raises(DocumentGivenUpError):
        call(pool, take_token, token.descriptor, context=context)

    assert not token.is_taken
    assert call(pool, abs, -3, context=CallContext("another")) == 3


def test_error_of_a_given_up_document_differs_from_a_timeout(make_pool):
    decoder = Decoder(make_pool(), 0.2, time.monotonic)
    for _ in range(2):
        with pytest.raises(
            UnreadableDocumentError, match=r"longer than 0\.2 s and was"
        ):
            decoder.run(CallContext("document"), None, keep_core_busy)

    with pytest.raises(
        UnreadableDocumentError, match="the rest of the document was not"
    ):
        decoder.run(CallContext("document"), None, abs, -3)


def test_preempted_call_restarts_after_the_waiting_one(make_pool, token, end_records):
    pool = make_pool()
    answers: list[str] = []
    slow = Thread(
        target=lambda: answers.append(call(pool, keep_core_busy_once, token.descriptor))
    )
    slow.start()
    until(lambda: token.is_taken)

    answers.append(call(pool, str, "waited"))

    slow.join()
    assert answers == ["waited", "done"]
    assert [record.why for record in end_records] == ["preempted"]


def test_new_documents_are_served_during_endless_calls(make_pool):
    pool = make_pool(2)

    def call_without_end() -> None:
        with suppress(CallTimeoutError, CallCrashedError):
            call(pool, keep_core_busy, seconds=4)

    threads = [Thread(target=call_without_end) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: pool.num_waiting >= 4)

    assert [call(pool, abs, -n, seconds=4) for n in range(8)] == list(range(8))

    pool.close()
    for thread in threads:
        thread.join()


def test_slow_documents_run_with_a_lower_priority(make_pool):
    pool, slow = make_pool(), CallContext("slow")
    with pytest.raises(CallTimeoutError):
        call(pool, keep_core_busy, context=slow, seconds=0.2)

    assert call(pool, get_niceness, context=slow) > get_niceness()
    assert call(pool, get_niceness) == get_niceness()


def test_time_limit_of_a_slow_document_is_processor_time():
    pool, slow = Pool(1, modules=[called.__name__]), CallContext("slow")
    with pytest.raises(CallTimeoutError):
        call(pool, keep_core_busy, context=slow, seconds=0.2)

    # The call sleeps without processor time, for less than three time limits.
    assert call(pool, time.sleep, 2, context=slow, seconds=1.5) is None
    pool.close()


@pytest.mark.parametrize(
    ("function", "args", "why"),
    [
        (keep_core_busy, (), ["timeout"]),
        (signal_myself, (int(signal.SIGKILL),), ["killed"] * 2),
        (signal_myself, (int(signal.SIGSEGV),), ["crash"] * 2),
        (signal_myself, (int(signal.SIGSTOP),), ["stalled"] * 2),
    ],
)
def test_the_log_has_one_line_for_each_process(
    make_pool, end_records, function, args, why
):
    context = CallContext("digest", "request", 7)

    with pytest.raises((CallCrashedError, CallTimeoutError)):
        call(make_pool(), function, *args, context=context, seconds=BURN_SECONDS)

    assert [record.getMessage() for record in end_records] == ["decoder ended"] * len(
        why
    )
    assert [record.why for record in end_records] == why
    for record in end_records:
        assert (record.document, record.request_id, record.page) == (
            "digest",
            "request",
            7,
        )
        assert 0 <= record.seconds < SECONDS
