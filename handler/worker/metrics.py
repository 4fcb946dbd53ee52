"""Metrics of the service, through TorchServe's metrics API.

Names and units are declared for TorchServe's frontend in server/metrics.yaml. The
frontend silently drops a metric that is not declared there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from handler.schema import PageResult

__all__ = ["COUNTERS", "GAUGES", "HISTOGRAMS", "WorkerMetrics"]

COUNTERS = (
    *("Requests", "Pages", "OutputTokens", "Forwards"),
    *("DraftedTokens", "AcceptedTokens", "Failures", "Retries"),
)
HISTOGRAMS = ("QueueSeconds", "PageSeconds", "RequestSeconds")
GAUGES = ("EngineFallbacks",)


class TorchServeMetric(Protocol):
    """Interface of TorchServe's `CachingMetric`, as far as it is used."""

    def add_or_update(self, value: float, dimension_values: list[str]) -> None: ...


class WorkerMetrics:
    """Records metrics of answered requests. Only the pump's thread may use it.

    `find_metric` returns TorchServe's metric by its kind, which is `counter`, `gauge`
    or `histogram`, and by its name. `num_fallbacks` returns the number of optimisations
    that the engines have given up.
    """

    def __init__(
        self,
        find_metric: Callable[[str, str], TorchServeMetric],
        model_name: str,
        num_fallbacks: Callable[[], int] = lambda: 0,
    ) -> None:
        self._num_fallbacks = num_fallbacks
        self._metrics = {name: find_metric("counter", name) for name in COUNTERS}
        self._metrics |= {name: find_metric("gauge", name) for name in GAUGES}
        self._metrics |= {name: find_metric("histogram", name) for name in HISTOGRAMS}
        self._dimensions = [model_name, "Model"]

    def record_fallbacks(self) -> None:
        """Set the gauge of the optimisations that the engines have given up."""
        self._add("EngineFallbacks", self._num_fallbacks())

    def record(
        self, pages: Sequence[PageResult], code: str | None, seconds: float
    ) -> None:
        """Record the metrics of an answered request and its pages.

        `code` is the code of its error, or None. `seconds` is the time from its arrival
        to its reply.
        """
        self.record_fallbacks()
        self._add("Requests", 1)
        self._add("RequestSeconds", seconds)
        if code is not None:
            self._add("Failures", 1, code)
        for page in pages:
            self._add("Pages", 1)
            if page.error is not None:
                # Count a failed request once, instead of each of its pages.
                if code is None:
                    self._add("Failures", 1, page.error.code)
            else:
                self._add("OutputTokens", page.output_tokens)
                self._add("Forwards", page.forwards)
                self._add("DraftedTokens", page.drafted_tokens)
                self._add("AcceptedTokens", page.accepted_tokens)
                self._add("QueueSeconds", page.queue_seconds)
                self._add("PageSeconds", page.page_seconds)
            if page.attempts > 1:
                self._add("Retries", page.attempts - 1)

    def _add(self, name: str, value: float, *dimensions: str) -> None:
        self._metrics[name].add_or_update(value, [*self._dimensions, *dimensions])
