"""Choose the items to measure within the budget, and survive items that fail.

Items are tried in order of importance. Every outcome is on disk before the next
begins, so that a run that is killed loses one item at most.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["MAX_ATTEMPTS", "OUT_OF_TIME", "Item", "Ledger", "plan_seconds", "run_items"]

MAX_ATTEMPTS = 2
OUT_OF_TIME = "not measured: out of time"
_HANG_FACTOR = 3.0
_HANG_SECONDS = 60.0
_MIN_PACE = 0.25
"""One item that was quick does not mean that all others of its part are."""
_ERROR_LETTERS = 600


@dataclass(frozen=True, slots=True)
class Item:
    """One measurement. Times are seconds; those of setup are estimates for an H200."""

    part: str
    name: str
    measure: Callable[[float], Any]
    """Called with the seconds to measure for; returns what goes into the file."""
    setup_seconds: float
    """For everything but measuring: graphs, prompts, first calls."""
    least_seconds: float = 0.0
    """A shorter measurement would say nothing."""
    seconds: float = 0.0
    """A longer one would say no more."""
    needs_operator: bool = False
    """Whether it uses the attention operator, which may be wrong on the device."""
    needs_rates: bool = False

    @property
    def key(self) -> str:
        return f"{self.part}: {self.name}"


class Ledger(Protocol):
    """Store of outcomes; each method writes the file."""

    def expect(self, items: Iterable[tuple[str, str]]) -> None:
        """Note which items are going to be measured."""

    def begin(self, part: str, name: str, *, limit_seconds: float) -> None:
        """Note that an item is about to run, and after how long it hangs."""

    def add(self, part: str, name: str, measured: Any) -> None:
        """Keep a result."""

    def fail(self, part: str, name: str, state: str, why: str) -> None:
        """Keep the reason for which there is no result."""

    def attempts(self, part: str, name: str) -> int:
        """Return how often an item began."""

    def is_measured(self, part: str, name: str) -> bool: ...


def plan_seconds(
    items: Sequence[Item], remaining: float, pace: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the measuring time of each item that fits, by its key.

    The most important items get their least time first; one that does not fit any
    more is left out. The rest of the time lengthens all of them in proportion, up to
    what each wants. `pace` has, by part, how long setup took as a multiple of what was
    estimated.
    """
    pace = pace or {}
    kept: list[Item] = []
    for item in items:
        least = item.least_seconds + item.setup_seconds * pace.get(item.part, 1.0)
        if least <= remaining:
            kept.append(item)
            remaining -= least
    wanted = sum(max(0.0, item.seconds - item.least_seconds) for item in kept)
    share = min(1.0, remaining / wanted) if wanted else 0.0
    return {
        item.key: item.least_seconds
        + share * max(0.0, item.seconds - item.least_seconds)
        for item in kept
    }


def run_items(
    items: Sequence[Item],
    ledger: Ledger,
    *,
    remaining: Callable[[], float],
    is_usable: Callable[[], bool] = lambda: True,
    refusal: Callable[[Item], str | None] = lambda item: None,
    tell: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Measure what the ledger lacks; return False if the device is lost.

    An item that failed, or whose process ended, is tried once more by a later run,
    after those that were never tried. `is_usable` is asked after each item, and gives
    back what the item held. `refusal` gives the reason not to measure one, or None.
    """
    pace: dict[str, float] = {}
    left = [item for item in items if not ledger.is_measured(item.part, item.name)]
    for item in left:
        if ledger.attempts(item.part, item.name) >= MAX_ATTEMPTS:
            tell(f"{item.key}: not tried again")
    left = [
        item for item in left if ledger.attempts(item.part, item.name) < MAX_ATTEMPTS
    ]
    left.sort(key=lambda item: ledger.attempts(item.part, item.name))
    ledger.expect((item.part, item.name) for item in left)
    while left:
        plan = plan_seconds(left, remaining(), pace)
        fitting = [item for item in left if item.key in plan]
        if not fitting:
            for item in left:
                ledger.fail(item.part, item.name, "out of time", OUT_OF_TIME)
                tell(f"{item.key}: {OUT_OF_TIME}")
            return True
        item = fitting[0]
        left.remove(item)
        if (why := refusal(item)) is not None:
            ledger.fail(item.part, item.name, "refused", why)
            tell(f"{item.key}: {why}")
            continue
        seconds = plan[item.key]
        expected = seconds + item.setup_seconds * pace.get(item.part, 1.0)
        ledger.begin(
            item.part,
            item.name,
            limit_seconds=_HANG_FACTOR * expected + _HANG_SECONDS,
        )
        begin = clock()
        failure = _measure(item, seconds, ledger)
        took = clock() - begin - seconds
        if item.setup_seconds:
            pace[item.part] = max(_MIN_PACE, took / item.setup_seconds)
        if failure is not None:
            ledger.fail(item.part, item.name, "failed", failure)
            tell(f"{item.key}: failed: {failure.splitlines()[0]}")
        # Here the exception is gone, and with it the tensors that its frames held.
        if not is_usable():
            return False
    return True


def _measure(item: Item, seconds: float, ledger: Ledger) -> str | None:
    try:
        ledger.add(item.part, item.name, item.measure(seconds))
    except Exception as error:  # whatever one item raises, the next one is measured
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error}"[:_ERROR_LETTERS]
        return f"{said}\nin {place.name}, line {place.lineno}"
    return None
