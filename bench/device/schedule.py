"""Scheduler of the measurements within a time budget.

Items run in order of importance. Each result is on disk before the next item begins,
so a killed run loses at most one item. A failed item does not stop the run.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "MAX_ATTEMPTS",
    "OUT_OF_TIME",
    "Item",
    "MeasurementStore",
    "plan_seconds",
    "run_items",
]

MAX_ATTEMPTS = 2
OUT_OF_TIME = "not measured: out of time"
_HANG_FACTOR = 3.0
_HANG_SECONDS = 60.0
_MIN_PACE = 0.25
"""Lower bound of the pace: a quick item does not mean that the whole part is quick."""
_ERROR_LETTERS = 600


@dataclass(frozen=True, slots=True)
class Item:
    """Measurement. Times are in seconds; setup times are estimates for an H200."""

    part: str
    name: str
    measure: Callable[[float], Any]
    """Takes the seconds to measure for, and returns the JSON value of the result."""
    setup_seconds: float
    """Time for graphs, prompts and first calls, before the measurement."""
    least_seconds: float = 0.0
    """Shortest useful duration."""
    seconds: float = 0.0
    """Longest useful duration."""
    needs_operator: bool = False
    """True if it uses the attention operator, which may be wrong on the device."""
    needs_rates: bool = False

    @property
    def key(self) -> str:
        return f"{self.part}: {self.name}"


class MeasurementStore(Protocol):
    """Store of results. Each method that changes it writes the file."""

    def expect(self, items: Iterable[tuple[str, str]]) -> None:
        """Note the items that the run plans to measure."""

    def begin(self, part: str, name: str, *, limit_seconds: float) -> None:
        """Note that an item starts, and after how many seconds it counts as hanging."""

    def add(self, part: str, name: str, measured: Any) -> None:
        """Store a result."""

    def fail(self, part: str, name: str, state: str, why: str) -> None:
        """Store the reason why there is no result."""

    def attempts(self, part: str, name: str) -> int:
        """Return the number of times that an item began."""

    def is_measured(self, part: str, name: str) -> bool: ...


def plan_seconds(
    items: Sequence[Item], remaining: float, pace: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the measuring time of each item that fits, by its key.

    The most important items get their shortest duration first; items that do not fit
    are left out. The remaining time lengthens all items in proportion, up to their
    longest duration. `pace` is the ratio of real to estimated setup time by part.
    """
    pace = pace or {}
    kept: list[Item] = []
    for item in items:
        least = item.least_seconds + item.setup_seconds * pace.get(item.part, 1.0)
        if least <= remaining:
            kept.append(item)
            remaining -= least
    flexible_seconds = sum(max(0.0, item.seconds - item.least_seconds) for item in kept)
    share = min(1.0, remaining / flexible_seconds) if flexible_seconds else 0.0
    return {
        item.key: item.least_seconds
        + share * max(0.0, item.seconds - item.least_seconds)
        for item in kept
    }


def run_items(
    items: Sequence[Item],
    store: MeasurementStore,
    *,
    remaining: Callable[[], float],
    is_usable: Callable[[], bool] = lambda: True,
    refusal: Callable[[Item], str | None] = lambda item: None,
    tell: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Measure what the ledger lacks; return False if the device is lost.

    A later run retries each failed item once, after the items that were never tried.
    `is_usable` is called after each item and releases its memory. `refusal` returns the
    reason not to measure an item, or None.
    """
    pace: dict[str, float] = {}
    left = [item for item in items if not store.is_measured(item.part, item.name)]
    for item in left:
        if store.attempts(item.part, item.name) >= MAX_ATTEMPTS:
            tell(f"{item.key}: not tried again")
    left = [
        item for item in left if store.attempts(item.part, item.name) < MAX_ATTEMPTS
    ]
    left.sort(key=lambda item: store.attempts(item.part, item.name))
    store.expect((item.part, item.name) for item in left)
    while left:
        plan = plan_seconds(left, remaining(), pace)
        fitting = [item for item in left if item.key in plan]
        if not fitting:
            for item in left:
                store.fail(item.part, item.name, "out of time", OUT_OF_TIME)
                tell(f"{item.key}: {OUT_OF_TIME}")
            return True
        item = fitting[0]
        left.remove(item)
        if (why := refusal(item)) is not None:
            store.fail(item.part, item.name, "refused", why)
            tell(f"{item.key}: {why}")
            continue
        seconds = plan[item.key]
        expected = seconds + item.setup_seconds * pace.get(item.part, 1.0)
        store.begin(
            item.part,
            item.name,
            limit_seconds=_HANG_FACTOR * expected + _HANG_SECONDS,
        )
        begin = clock()
        failure = _measure(item, seconds, store)
        took = clock() - begin - seconds
        if item.setup_seconds:
            pace[item.part] = max(_MIN_PACE, took / item.setup_seconds)
        if failure is not None:
            store.fail(item.part, item.name, "failed", failure)
            tell(f"{item.key}: failed: {failure.splitlines()[0]}")
        # The exception is deleted here, and with it the tensors in its frames.
        if not is_usable():
            return False
    return True


def _measure(item: Item, seconds: float, store: MeasurementStore) -> str | None:
    try:
        store.add(item.part, item.name, item.measure(seconds))
    except Exception as error:  # a failed item must not stop the others
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error}"[:_ERROR_LETTERS]
        return f"{message}\nin {place.name}, line {place.lineno}"
    return None
