"""Simulated fleet: a day of documents, a queue, machines, and CloudWatch alarms.

CloudWatch works as documented: one datapoint per minute, visible a minute later, and
alarms of consecutive datapoints. Application Auto Scaling has its cool-downs. A machine
divides its pages per second among its documents. AWS does not document which machine
scale-in removes; the simulation removes the busiest one.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Day",
    "Fleet",
    "Machine",
    "Policy",
    "SimulatedDocument",
    "make_documents_of_a_day",
    "simulate_day",
]

STEP_SECONDS = 10
MINUTE = 60
DAY = 86_400
# A datapoint is visible after its minute and CloudWatch's delay.
DELAY_MINUTES = 1
HIGH_DATAPOINTS, LOW_DATAPOINTS, WAKE_DATAPOINTS = 3, 15, 2
LOW_SHARE = 0.9


@dataclass(slots=True)
class SimulatedDocument:
    """Document with its pages."""

    arrival: int
    """Second of the day."""
    pages: float
    started: int | None = None
    finished: int | None = None
    cut: int | None = None
    """Second at which scale-in removed its machine; SageMaker does not retry."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Speed and price of an instance type."""

    single: float
    """Pages per second with one page at a time."""
    together: float
    """Pages per second with as many pages as fit."""
    concurrency: int
    start_seconds: int
    price: float
    """US dollars per hour, from the start request on."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Scaling policy."""

    target: int
    min_machines: int
    max_machines: int
    scale_out_seconds: int
    scale_in_cooldown: int
    tracks_down: bool
    """True if target tracking also removes machines."""
    idle_minutes: int | None
    """Minutes without work after which all machines are removed; None never does so."""
    sees_gpus: bool
    """True if a busy GPU counts as work, not only a queue that is not empty."""


@dataclass(slots=True)
class RequestedMachine:
    """Machine that was requested, with the documents that it reads."""

    ordered: int
    """Second of the day of the request."""
    ready: int
    """Second of the day from which it reads documents."""
    reading: list[SimulatedDocument] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Day:
    """Result of a simulated day, with one value per minute."""

    backlog: list[int]
    machines: list[int]
    """Number of ready machines."""
    ordered: list[int]
    """Number of machines that are ready or starting, and billed."""
    cost: list[float]
    documents: list[SimulatedDocument]
    cuts: list[int]
    """Seconds of the day at which documents were cut off."""

    @property
    def num_late(self) -> int:
        """Number of documents that are unfinished at the end, without those cut off."""
        return sum(d.finished is None and d.cut is None for d in self.documents)

    def longest_reading(self) -> int:
        """Return the seconds of the document that took longest; 0 if none finished."""
        times = [d.finished - d.started for d in self.documents
                 if d.finished is not None and d.started is not None]  # fmt: skip
        return max(times, default=0)

    def pages_read(self) -> float:
        return sum(d.pages for d in self.documents if d.finished is not None)


class Fleet:
    """Queue of documents and the machines that read them."""

    def __init__(
        self, machine: Machine, documents: Sequence[SimulatedDocument]
    ) -> None:
        self.machine = machine
        self.arriving = deque(sorted(documents, key=lambda d: d.arrival))
        self.waiting: deque[SimulatedDocument] = deque()
        self.running: list[RequestedMachine] = []
        self.cuts: list[int] = []
        self._left = {id(d): d.pages for d in documents}

    def find_ready_machines(self, now: int) -> list[RequestedMachine]:
        return [
            running_machine
            for running_machine in self.running
            if running_machine.ready <= now
        ]

    def is_working(self, now: int) -> bool:
        return any(
            running_machine.reading for running_machine in self.find_ready_machines(now)
        )

    def resize(self, num_machines: int, now: int) -> None:
        """Request machines, or remove the busiest ones and cut off their documents."""
        while len(self.running) < num_machines:
            self.running.append(RequestedMachine(now, now + self.machine.start_seconds))
        while len(self.running) > num_machines:
            # Assume the worst: AWS does not promise to remove an idle machine.
            removed = max(
                self.running, key=lambda running_machine: len(running_machine.reading)
            )
            self.running.remove(removed)
            for document in removed.reading:
                document.cut = now
                self.cuts.append(now)

    def step(self, now: int) -> None:
        """Advance the simulation by STEP_SECONDS."""
        while self.arriving and self.arriving[0].arrival <= now:
            self.waiting.append(self.arriving.popleft())
        ready = self.find_ready_machines(now)
        while self.waiting and ready:
            least_busy = min(
                ready, key=lambda running_machine: len(running_machine.reading)
            )
            if len(least_busy.reading) >= self.machine.concurrency:
                break
            document = self.waiting.popleft()
            document.started = now
            least_busy.reading.append(document)
        for running_machine in ready:
            self._read_pages(running_machine, now)

    def _read_pages(self, running_machine: RequestedMachine, now: int) -> None:
        """Advance the documents of a machine, which share its slots evenly."""
        num_slots = self.machine.together / self.machine.single
        documents = sorted(running_machine.reading, key=lambda d: self._left[id(d)])
        for number, document in enumerate(documents):
            share = min(
                num_slots / (len(documents) - number),
                max(1.0, self._left[id(document)]),
            )
            num_slots -= share
            self._left[id(document)] -= share * self.machine.single * STEP_SECONDS
            if self._left[id(document)] <= 0:
                document.finished = now + STEP_SECONDS
                running_machine.reading.remove(document)


class Alarms:
    """Metrics with one datapoint per minute, and the decisions of a policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._per_machine: list[float | None] = []
        self._stranded: list[bool] = []
        self._work: list[bool | None] = []
        self._last_in = -DAY
        self._last_out = -DAY

    def record_minute(self, fleet: Fleet, now: int) -> None:
        """Append a datapoint of each metric from the fleet's state."""
        backlog, ready = len(fleet.waiting), len(fleet.find_ready_machines(now))
        self._per_machine.append(backlog / ready if ready else None)
        self._stranded.append(backlog > 0 and not ready)
        is_working = self._policy.sees_gpus and fleet.is_working(now)
        # Without machines there is no GPU metric.
        self._work.append((backlog > 0 or is_working) if ready else None)

    def choose_num_machines(self, ready: int, ordered: int, now: int) -> int:
        """Return the number of machines that the policy wants now.

        `ready` and `ordered` are the current numbers of machines. Times of scaling are
        remembered for the cool-downs.
        """
        policy = self._policy
        after = now - self._last_out
        if ordered == 0 and all(self._last_datapoints(self._stranded, WAKE_DATAPOINTS)):
            return self._scale_out(max(1, policy.min_machines), now)
        recent = self._last_datapoints(self._per_machine, HIGH_DATAPOINTS)
        if ready and all(v is not None and v > policy.target for v in recent):
            needed = math.ceil(ready * (recent[-1] or 0) / policy.target)
            needed = min(needed, policy.max_machines)
            if needed > ordered and after >= policy.scale_out_seconds:
                return self._scale_out(needed, now)
        if policy.tracks_down:
            return self._track_target(ready, ordered, now)
        if policy.idle_minutes is not None and ordered > policy.min_machines:
            work = self._last_datapoints(self._work, policy.idle_minutes)
            if all(is_busy is False for is_busy in work):
                return policy.min_machines
        return ordered

    def _track_target(self, ready: int, ordered: int, now: int) -> int:
        """Return the number of machines after a scale-in by target tracking."""
        policy = self._policy
        recent = self._last_datapoints(self._per_machine, LOW_DATAPOINTS)
        is_low = all(v is not None and v < LOW_SHARE * policy.target for v in recent)
        is_cool = now - self._last_in >= policy.scale_in_cooldown
        if not (ready and is_low and is_cool):
            return ordered
        needed = math.ceil(ready * (recent[-1] or 0) / policy.target)
        needed = max(policy.min_machines, min(needed, ordered))
        if needed < ordered:
            self._last_in = now
        return needed

    def _scale_out(self, num_machines: int, now: int) -> int:
        """Remember the time of a scale-out, and return the number of machines."""
        self._last_out = now
        return num_machines

    @staticmethod
    def _last_datapoints(series: Sequence[Any], num: int) -> Sequence[Any]:
        """Return the last `num` visible datapoints; [None] if there are fewer."""
        end = len(series) - DELAY_MINUTES
        return series[end - num : end] if end >= num else [None]


def make_documents_of_a_day(seed: int) -> list[SimulatedDocument]:
    """Return bursts of documents in working hours, and a few long ones at any time."""
    return list(_draw_documents(random.Random(seed)))


def _draw_documents(chance: random.Random) -> Iterator[SimulatedDocument]:
    for hour in (7, 9, 11, 14, 16, 19):
        start = hour * 3600 + chance.randrange(3600)
        for _ in range(chance.randrange(20, 90)):
            pages = min(150, max(1, round(chance.lognormvariate(math.log(6), 1.2))))
            yield SimulatedDocument(start + chance.randrange(600), pages)
    # One of these takes up to the timeout even if it has a machine of its own.
    for _ in range(12):
        yield SimulatedDocument(
            chance.randrange(DAY - 3 * 3600), chance.randrange(200, 900)
        )


def simulate_day(
    documents: Sequence[SimulatedDocument],
    machine: Machine,
    policy: Policy,
    seconds: int = DAY,
) -> Day:
    """Simulate a day, starting at midnight with the policy's minimum of machines."""
    fleet, alarms = Fleet(machine, documents), Alarms(policy)
    fleet.resize(policy.min_machines, 0)
    backlog, ready, ordered, cost = [], [], [], []
    spent = 0.0
    for now in range(0, seconds, STEP_SECONDS):
        fleet.step(now)
        spent += len(fleet.running) * machine.price * STEP_SECONDS / 3600
        if now % MINUTE == 0:
            alarms.record_minute(fleet, now)
            num_machines = alarms.choose_num_machines(
                len(fleet.find_ready_machines(now)), len(fleet.running), now
            )
            fleet.resize(num_machines, now)
            backlog.append(len(fleet.waiting))
            ready.append(len(fleet.find_ready_machines(now)))
            ordered.append(len(fleet.running))
            cost.append(spent)
    return Day(backlog, ready, ordered, cost, list(documents), fleet.cuts)
