"""Runs of an engine over pages, with their throughput and latencies."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handler.engine.engine import Engine
from handler.engine.request import EngineOutput, EngineRequest

__all__ = ["EngineRun", "read_pages"]


@dataclass(frozen=True, slots=True)
class EngineRun:
    """Run of an engine over some pages."""

    seconds: float
    latencies: tuple[float, ...]
    """Seconds from the submission to the end of each page."""
    outputs: dict[str, EngineOutput]

    @property
    def pages_per_second(self) -> float:
        return len(self.outputs) / self.seconds

    @property
    def num_tokens(self) -> int:
        return sum(g.num_output_tokens for g in self.outputs.values())

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds

    @property
    def tokens_per_forward(self) -> float:
        """Mean number of tokens that a page gets per forward pass it takes part in."""
        return self.num_tokens / sum(g.num_forwards for g in self.outputs.values())

    @property
    def acceptance_rate(self) -> float | None:
        """Acceptance rate of the draft tokens; None without drafts."""
        num_drafted = sum(g.num_drafted_tokens for g in self.outputs.values())
        accepted = sum(g.num_accepted_tokens for g in self.outputs.values())
        return accepted / num_drafted if num_drafted else None

    def latency(self, percent: int) -> float:
        """Return a percentile of the pages' latencies in seconds."""
        if len(self.latencies) == 1:
            return self.latencies[0]
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[
            percent - 1
        ]

    def num_same_texts(self, other: EngineRun) -> int:
        """Count the pages with equal texts, compared up to the other run's length."""
        return sum(
            output.text.startswith(other.outputs[name].text)
            for name, output in self.outputs.items()
        )


def read_pages(
    engine: Engine,
    pages: Sequence[EngineRequest],
    *,
    in_flight: int,
    clock: Callable[[], float] = time.perf_counter,
) -> EngineRun:
    """Run the engine over the pages with `in_flight` pages at any time."""
    waiting = list(reversed(pages))
    submitted: dict[str, float] = {}
    latencies: list[float] = []
    outputs: dict[str, EngineOutput] = {}
    started = clock()
    while waiting or engine.has_work:
        while waiting and len(submitted) - len(outputs) < in_flight:
            page = waiting.pop()
            submitted[page.id] = clock()
            engine.submit(page)
        for output in engine.step(lambda: None):
            latencies.append(clock() - submitted[output.engine_request_id])
            outputs[output.engine_request_id] = output
    return EngineRun(clock() - started, tuple(latencies), outputs)
