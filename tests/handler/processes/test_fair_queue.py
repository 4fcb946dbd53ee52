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

LIMIT = 20.0
FIRST = 1.0
SECOND = 5.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue_of(clock):
    return lambda size: FairQueue(size, clock)


@pytest.fixture
def waiting():
    """Function that starts threads which wait for a turn; turns are put into a list."""
    threads: list[Thread] = []

    def wait(queue: FairQueue, usage: DocumentUsage, turns: list[Turn]) -> None:
        def take() -> None:
            if turn := queue.take(usage, LIMIT, 30):
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
    turn = queue.take(usage or DocumentUsage(), LIMIT, 0)
    assert turn is not None
    return turn


def can_take(queue: FairQueue, level: Priority = Priority.NORMAL) -> bool:
    """Take a turn if one is free now; return whether it was."""
    return queue.take(DocumentUsage(level), LIMIT, 0) is not None


def served(queue: FairQueue, turns: list[Turn], running: Turn) -> list[DocumentUsage]:
    """Return the order in which waiting calls run after the running one."""
    num_waiting = queue.num_waiting
    queue.give_back(running, CallOutcome.FINISHED)
    order = []
    for _ in range(num_waiting):
        until(lambda: turns)
        turn = turns.pop()
        order.append(turn.usage)
        queue.give_back(turn, CallOutcome.FINISHED)
    return order


def test_no_more_turns_than_processes_are_given(queue_of):
    queue = queue_of(2)

    assert [can_take(queue) for _ in range(3)] == [True, True, False]


def test_documents_that_used_less_go_first(queue_of, clock, waiting):
    turns: list[Turn] = []
    queue, heavy, light = queue_of(1), DocumentUsage(), DocumentUsage()
    running = take(queue, heavy)
    waiting(queue, DocumentUsage(), turns)
    clock.now += 0.9
    queue.give_back(running, CallOutcome.FINISHED)
    until(lambda: turns)
    later: list[Turn] = []
    waiting(queue, heavy, later)
    waiting(queue, light, later)

    assert served(queue, later, turns[0]) == [light, heavy]


def test_a_long_document_is_not_starved_by_new_ones(queue_of, clock, waiting):
    turns: list[Turn] = []
    queue, long = queue_of(1), DocumentUsage()
    running = take(queue, long)
    # The document uses the process for long while another one waits.
    waiting(queue, DocumentUsage(), turns)
    clock.now += 0.9
    queue.give_back(running, CallOutcome.FINISHED)
    late: list[Turn] = []
    waiting(queue, long, late)

    num_served = 0
    while not late and num_served < 20:
        until(lambda: turns or late)
        for turn in turns:
            waiting(queue, DocumentUsage(), turns)
            clock.now += 0.2
            queue.give_back(turns.pop(turns.index(turn)), CallOutcome.FINISHED)
            num_served += 1
            break

    assert 2 < num_served < 20
    queue.give_back(late[0], CallOutcome.FINISHED)


def test_slow_documents_wait_for_normal_ones(queue_of, waiting):
    queue = queue_of(1)
    slow, suspect, normal = (
        DocumentUsage(Priority.SLOW),
        DocumentUsage(Priority.SUSPECT),
        DocumentUsage(),
    )
    turns: list[Turn] = []
    running = take(queue)
    for usage in (suspect, slow, normal):
        waiting(queue, usage, turns)

    assert served(queue, turns, running) == [normal, slow, suspect]


@pytest.mark.parametrize("level", [Priority.SLOW, Priority.SUSPECT])
@pytest.mark.parametrize(("size", "most"), [(1, 1), (2, 1)])
def test_the_last_process_is_kept_for_normal_documents(queue_of, level, size, most):
    queue = queue_of(size)

    taken = [can_take(queue, level) for _ in range(size)]

    assert sum(taken) == most
    assert can_take(queue) == (size > 1)


def test_suspects_hold_half_of_many_processes(queue_of):
    queue = queue_of(8)

    suspects = [can_take(queue, Priority.SUSPECT) for _ in range(8)]
    slow = [can_take(queue, Priority.SLOW) for _ in range(8)]

    assert (sum(suspects), sum(slow)) == (4, 3)


def test_a_call_that_has_run_for_long_counts_as_slow(queue_of, clock):
    queue = queue_of(2)
    take(queue)
    clock.now += FIRST

    assert [can_take(queue, Priority.SLOW), can_take(queue)] == [False, True]


def test_no_call_yields_while_none_waits(queue_of, clock):
    queue = queue_of(1)
    turn = take(queue)
    clock.now += LIMIT - 1

    assert not queue.must_yield(turn)


@pytest.mark.parametrize(
    ("running", "waits", "seconds"),
    [
        (Priority.NORMAL, Priority.NORMAL, FIRST),
        (Priority.NORMAL, Priority.SLOW, SECOND),
        (Priority.SLOW, Priority.NORMAL, SECOND),
        (Priority.SLOW, Priority.SLOW, SECOND),
    ],
)
def test_a_call_yields_after_its_limit(
    queue_of, clock, waiting, running, waits, seconds
):
    queue = queue_of(2)
    other = queue.take(DocumentUsage(), LIMIT, 0, can_restart=False)
    turns: list[Turn] = []
    turn = take(queue, DocumentUsage(running))
    waiting(queue, DocumentUsage(waits), turns)

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
    queue_of, clock, waiting, running, waits
):
    queue = queue_of(2)
    other = queue.take(DocumentUsage(), LIMIT, 0, can_restart=False)
    turns: list[Turn] = []
    turn = take(queue, DocumentUsage(running))
    waiting(queue, DocumentUsage(waits), turns)
    clock.now += LIMIT - 1

    assert not queue.must_yield(turn)
    queue.give_back(other, CallOutcome.FINISHED)
    queue.give_back(turn, CallOutcome.FINISHED)


def test_a_suspect_yields_the_only_process(queue_of, clock, waiting):
    queue = queue_of(1)
    turns: list[Turn] = []
    turn = take(queue, DocumentUsage(Priority.SUSPECT))
    waiting(queue, DocumentUsage(), turns)
    clock.now += FIRST

    assert queue.must_yield(turn)
    queue.give_back(turn, CallOutcome.PREEMPTED)


def test_time_before_yielding_doubles_up_to_the_limit(queue_of, clock, waiting):
    queue, slow = queue_of(1), DocumentUsage()
    limits = []
    for _ in range(8):
        turn = take(queue, slow)
        turns: list[Turn] = []
        waiting(queue, DocumentUsage(), turns)
        began = clock.now
        while not queue.must_yield(turn) and clock.now - began < LIMIT:
            clock.now += FIRST / 2
        limits.append(clock.now - began)
        queue.give_back(turn, CallOutcome.PREEMPTED)
        until(turns.__len__)
        queue.give_back(turns[0], CallOutcome.FINISHED)

    assert limits == [1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, LIMIT]


def test_one_call_yields_for_one_that_waits(queue_of, clock, waiting):
    queue = queue_of(3)
    turns: list[Turn] = []
    running = [take(queue) for _ in range(3)]
    clock.now += FIRST
    waiting(queue, DocumentUsage(), turns)

    assert sum(map(queue.must_yield, running)) == 1
    queue.give_back(running[0], CallOutcome.PREEMPTED)


def test_calls_that_cannot_restart_never_yield(queue_of, clock, waiting):
    queue = queue_of(1)
    turns: list[Turn] = []
    turn = queue.take(DocumentUsage(), LIMIT, 0, can_restart=False)
    waiting(queue, DocumentUsage(), turns)
    clock.now += LIMIT

    assert not queue.must_yield(turn)
    queue.give_back(turn, CallOutcome.FINISHED)


@pytest.mark.parametrize(
    ("before", "outcome", "seconds", "after"),
    [
        (Priority.NORMAL, CallOutcome.FINISHED, 0.1, Priority.NORMAL),
        (Priority.NORMAL, CallOutcome.FINISHED, FIRST, Priority.SLOW),
        (Priority.NORMAL, CallOutcome.OUT_OF_TIME, FIRST, Priority.SLOW),
        (Priority.NORMAL, CallOutcome.PREEMPTED, FIRST, Priority.SLOW),
        (Priority.NORMAL, CallOutcome.TIMED_OUT, LIMIT, Priority.SUSPECT),
        (Priority.NORMAL, CallOutcome.LOST, LIMIT, Priority.NORMAL),
        (Priority.SLOW, CallOutcome.FINISHED, 0.1, Priority.NORMAL),
        (Priority.SLOW, CallOutcome.OUT_OF_TIME, 0.1, Priority.SLOW),
        (Priority.SLOW, CallOutcome.PREEMPTED, SECOND, Priority.SUSPECT),
        (Priority.SUSPECT, CallOutcome.PREEMPTED, SECOND, Priority.SUSPECT),
        (Priority.SUSPECT, CallOutcome.FINISHED, 0.1, Priority.SUSPECT),
    ],
)
def test_level_of_a_document_follows_outcome_and_time(
    queue_of, clock, before, outcome, seconds, after
):
    queue, usage = queue_of(2), DocumentUsage(before)
    turn = take(queue, usage)
    clock.now += seconds

    queue.give_back(turn, outcome)

    assert usage.level is after


def test_a_document_is_given_up_after_two_timeouts(queue_of, clock):
    queue, usage = queue_of(1), DocumentUsage()

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
