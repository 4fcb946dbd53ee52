"""Order of turns and preemption in the fair queue."""

from __future__ import annotations

from threading import Thread

import pytest

from handler.processes.fair_queue import (
    CallOutcome,
    DocumentUsage,
    FairQueue,
    Priority,
    Turn,
    UsageHistory,
)
from tests.waiting import until

LIMIT_SECONDS = 20.0
"""Time limit of a call."""
FIRST_LIMIT_SECONDS = 1.0
"""Time after which a normal call yields to another normal one."""
SECOND_LIMIT_SECONDS = 5.0
"""Time after which calls yield if one of both documents is slow."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_queue(clock):
    return lambda size: FairQueue(size, clock)


@pytest.fixture
def start_waiting():
    """Function that starts threads which wait for a turn; turns are put into a list."""
    threads: list[Thread] = []

    def wait(queue: FairQueue, usage: DocumentUsage, turns: list[Turn]) -> None:
        def take() -> None:
            if turn := queue.take(usage, LIMIT_SECONDS, 30):
                turns.append(turn)

        num_waiting = queue.num_waiting
        threads.append(Thread(target=take))
        threads[-1].start()
        until(lambda: queue.num_waiting == num_waiting + 1)

    yield wait
    for thread in threads:
        thread.join()


def take(queue: FairQueue, usage: DocumentUsage | None = None) -> Turn:
    """Take a turn that is free now."""
    turn = queue.take(usage or DocumentUsage(), LIMIT_SECONDS, 0)
    assert turn is not None
    return turn


def take_if_free(queue: FairQueue, level: Priority = Priority.NORMAL) -> bool:
    """Take a turn for a new document if one is free now; return whether it was.

    The turn is not given back.
    """
    return queue.take(DocumentUsage(level), LIMIT_SECONDS, 0) is not None


def finish_in_order(
    queue: FairQueue, turns: list[Turn], running: Turn
) -> list[DocumentUsage]:
    """Finish the running turn and then each waiting one as soon as it is granted.

    Returns the documents in the order in which their turns were granted.
    """
    num_waiting = queue.num_waiting
    queue.give_back(running, CallOutcome.FINISHED)
    order = []
    for _ in range(num_waiting):
        until(lambda: turns)
        turn = turns.pop()
        order.append(turn.usage)
        queue.give_back(turn, CallOutcome.FINISHED)
    return order


def test_at_most_one_turn_for_each_process_is_granted(make_queue):
    queue = make_queue(2)

    assert [take_if_free(queue) for _ in range(3)] == [True, True, False]


def test_documents_that_used_less_go_first(make_queue, clock, start_waiting):
    turns: list[Turn] = []
    queue, heavy, light = make_queue(1), DocumentUsage(), DocumentUsage()
    running = take(queue, heavy)
    start_waiting(queue, DocumentUsage(), turns)
    clock.now += 0.9
    queue.give_back(running, CallOutcome.FINISHED)
    until(lambda: turns)
    later: list[Turn] = []
    start_waiting(queue, heavy, later)
    start_waiting(queue, light, later)

    assert finish_in_order(queue, later, turns[0]) == [light, heavy]


def test_a_long_document_is_not_starved_by_new_ones(make_queue, clock, start_waiting):
    turns: list[Turn] = []
    queue, long = make_queue(1), DocumentUsage()
    running = take(queue, long)
    # The document uses the process for long while another one waits.
    start_waiting(queue, DocumentUsage(), turns)
    clock.now += 0.9
    queue.give_back(running, CallOutcome.FINISHED)
    late: list[Turn] = []
    start_waiting(queue, long, late)

    num_served = 0
    while not late and num_served < 20:
        until(lambda: turns or late)
        for turn in turns:
            start_waiting(queue, DocumentUsage(), turns)
            clock.now += 0.2
            queue.give_back(turns.pop(turns.index(turn)), CallOutcome.FINISHED)
            num_served += 1
            break

    assert 2 < num_served < 20
    queue.give_back(late[0], CallOutcome.FINISHED)


def test_slow_documents_wait_for_normal_ones(make_queue, start_waiting):
    queue = make_queue(1)
    slow, suspect, normal = (
        DocumentUsage(Priority.SLOW),
        DocumentUsage(Priority.SUSPECT),
        DocumentUsage(),
    )
    turns: list[Turn] = []
    running = take(queue)
    for usage in (suspect, slow, normal):
        start_waiting(queue, usage, turns)

    assert finish_in_order(queue, turns, running) == [normal, slow, suspect]


@pytest.mark.parametrize("level", [Priority.SLOW, Priority.SUSPECT])
@pytest.mark.parametrize(("size", "most"), [(1, 1), (2, 1)])
def test_the_last_process_is_kept_for_normal_documents(make_queue, level, size, most):
    queue = make_queue(size)

    taken = [take_if_free(queue, level) for _ in range(size)]

    assert sum(taken) == most
    assert take_if_free(queue) == (size > 1)


def test_suspects_hold_half_of_many_processes(make_queue):
    queue = make_queue(8)

    suspects = [take_if_free(queue, Priority.SUSPECT) for _ in range(8)]
    slow = [take_if_free(queue, Priority.SLOW) for _ in range(8)]

    assert (sum(suspects), sum(slow)) == (4, 3)


def test_a_call_that_has_run_for_long_counts_as_slow(make_queue, clock):
    queue = make_queue(2)
    take(queue)
    clock.now += FIRST_LIMIT_SECONDS

    assert [take_if_free(queue, Priority.SLOW), take_if_free(queue)] == [False, True]


def test_no_call_yields_while_none_waits(make_queue, clock):
    queue = make_queue(1)
    turn = take(queue)
    clock.now += LIMIT_SECONDS - 1

    assert not queue.must_yield(turn)


@pytest.mark.parametrize(
    ("running", "waits", "seconds"),
    [
        (Priority.NORMAL, Priority.NORMAL, FIRST_LIMIT_SECONDS),
        (Priority.NORMAL, Priority.SLOW, SECOND_LIMIT_SECONDS),
        (Priority.SLOW, Priority.NORMAL, SECOND_LIMIT_SECONDS),
        (Priority.SLOW, Priority.SLOW, SECOND_LIMIT_SECONDS),
    ],
)
def test_a_call_yields_after_its_limit(
    make_queue, clock, start_waiting, running, waits, seconds
):
    queue = make_queue(2)
    other = queue.take(DocumentUsage(), LIMIT_SECONDS, 0, can_restart=False)
    turns: list[Turn] = []
    turn = take(queue, DocumentUsage(running))
    start_waiting(queue, DocumentUsage(waits), turns)

    clock.now += seconds - 0.1
    before = queue.must_yield(turn)
    clock.now += 0.2
    after = queue.must_yield(turn)

    assert (before, after, queue.must_yield(turn)) == (False, True, False)
    queue.give_back(turn, CallOutcome.PREEMPTED)
    until(lambda: turns)
    queue.give_back(other, CallOutcome.FINISHED)


@pytest.mark.parametrize(
    ("running", "waits"),
    [
        (Priority.SUSPECT, Priority.NORMAL),
        (Priority.SUSPECT, Priority.SUSPECT),
        (Priority.NORMAL, Priority.SUSPECT),
    ],
)
def test_a_suspect_does_not_yield_while_others_have_a_process(
    make_queue, clock, start_waiting, running, waits
):
    queue = make_queue(2)
    other = queue.take(DocumentUsage(), LIMIT_SECONDS, 0, can_restart=False)
    turns: list[Turn] = []
    turn = take(queue, DocumentUsage(running))
    start_waiting(queue, DocumentUsage(waits), turns)
    clock.now += LIMIT_SECONDS - 1

    assert not queue.must_yield(turn)
    queue.give_back(other, CallOutcome.FINISHED)
    queue.give_back(turn, CallOutcome.FINISHED)


def test_a_suspect_yields_the_only_process(make_queue, clock, start_waiting):
    queue = make_queue(1)
    turns: list[Turn] = []
    turn = take(queue, DocumentUsage(Priority.SUSPECT))
    start_waiting(queue, DocumentUsage(), turns)
    clock.now += FIRST_LIMIT_SECONDS

    assert queue.must_yield(turn)
    queue.give_back(turn, CallOutcome.PREEMPTED)


def test_time_before_yielding_doubles_up_to_the_limit(make_queue, clock, start_waiting):
    queue, slow = make_queue(1), DocumentUsage()
    limits = []
    for _ in range(8):
        turn = take(queue, slow)
        turns: list[Turn] = []
        start_waiting(queue, DocumentUsage(), turns)
        began = clock.now
        while not queue.must_yield(turn) and clock.now - began < LIMIT_SECONDS:
            clock.now += FIRST_LIMIT_SECONDS / 2
        limits.append(clock.now - began)
        queue.give_back(turn, CallOutcome.PREEMPTED)
        until(turns.__len__)
        queue.give_back(turns[0], CallOutcome.FINISHED)

    assert limits == [1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, LIMIT_SECONDS]


def test_one_call_yields_for_one_that_waits(make_queue, clock, start_waiting):
    queue = make_queue(3)
    turns: list[Turn] = []
    running = [take(queue) for _ in range(3)]
    clock.now += FIRST_LIMIT_SECONDS
    start_waiting(queue, DocumentUsage(), turns)

    assert sum(map(queue.must_yield, running)) == 1
    queue.give_back(running[0], CallOutcome.PREEMPTED)


def test_calls_that_cannot_restart_never_yield(make_queue, clock, start_waiting):
    queue = make_queue(1)
    turns: list[Turn] = []
    turn = queue.take(DocumentUsage(), LIMIT_SECONDS, 0, can_restart=False)
    start_waiting(queue, DocumentUsage(), turns)
    clock.now += LIMIT_SECONDS

    assert not queue.must_yield(turn)
    queue.give_back(turn, CallOutcome.FINISHED)


@pytest.mark.parametrize(
    ("before", "outcome", "seconds", "after"),
    [
        (Priority.NORMAL, CallOutcome.FINISHED, 0.1, Priority.NORMAL),
        (Priority.NORMAL, CallOutcome.FINISHED, FIRST_LIMIT_SECONDS, Priority.SLOW),
        (Priority.NORMAL, CallOutcome.OUT_OF_TIME, FIRST_LIMIT_SECONDS, Priority.SLOW),
        (Priority.NORMAL, CallOutcome.PREEMPTED, FIRST_LIMIT_SECONDS, Priority.SLOW),
        (Priority.NORMAL, CallOutcome.TIMED_OUT, LIMIT_SECONDS, Priority.SUSPECT),
        (Priority.NORMAL, CallOutcome.LOST, LIMIT_SECONDS, Priority.NORMAL),
        (Priority.SLOW, CallOutcome.FINISHED, 0.1, Priority.NORMAL),
        (Priority.SLOW, CallOutcome.OUT_OF_TIME, 0.1, Priority.SLOW),
        (Priority.SLOW, CallOutcome.PREEMPTED, SECOND_LIMIT_SECONDS, Priority.SUSPECT),
        (
            Priority.SUSPECT,
            CallOutcome.PREEMPTED,
            SECOND_LIMIT_SECONDS,
            Priority.SUSPECT,
        ),
        (Priority.SUSPECT, CallOutcome.FINISHED, 0.1, Priority.SUSPECT),
    ],
)
def test_level_of_a_document_follows_outcome_and_time(
    make_queue, clock, before, outcome, seconds, after
):
    queue, usage = make_queue(2), DocumentUsage(before)
    turn = take(queue, usage)
    clock.now += seconds

    queue.give_back(turn, outcome)

    assert usage.level is after


def test_a_document_is_given_up_after_two_timeouts(make_queue, clock):
    queue, usage = make_queue(1), DocumentUsage()

    given_up = []
    for _ in range(2):
        queue.give_back(take(queue, usage), CallOutcome.TIMED_OUT)
        given_up.append(usage.is_given_up)

    assert given_up == [False, True]


def test_usage_of_a_document_is_kept_for_a_while(clock):
    history = UsageHistory(keep_seconds=60, clock=clock)
    usage = history.find_usage("a")

    clock.now += 59
    again = history.find_usage("a")
    clock.now += 60
    later = history.find_usage("a")

    assert again is usage
    assert later is not usage


def test_documents_without_a_key_share_no_usage_record():
    history = UsageHistory()

    assert history.find_usage(None) is not history.find_usage(None)
    assert len(history) == 0


def test_number_of_remembered_documents_is_limited(clock):
    history = UsageHistory(max_documents=10, clock=clock)
    first = history.find_usage("0")

    for number in range(1, 100):
        history.find_usage(str(number))

    assert len(history) == 10
    assert history.find_usage("0") is not first
