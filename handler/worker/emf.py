"""Metrics in CloudWatch's embedded metric format.

CloudWatch extracts metrics from such log lines. On SageMaker, the log is the only way
out, because TorchServe's metrics address cannot be reached.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from handler.schema import PageResult

__all__ = ["NAMESPACE", "EmbeddedMetrics"]

logger = logging.getLogger(__name__)

NAMESPACE = "ChandraOCR"
MAX_VALUES = 100
"""CloudWatch's limit for the values of one metric in a line."""


class EmbeddedMetrics:
    """Logs lines with the metrics of each answered request.

    `gpu_memory_bytes` returns the memory in use on all accelerators, or None without
    one. `num_fallbacks` returns the number of optimisations that the
    engines have given up.
    """

    def __init__(
        self,
        model_id: str,
        gpu_memory_bytes: Callable[[], int | None],
        num_fallbacks: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model_id = model_id
        self._gpu_memory_bytes = gpu_memory_bytes
        self._num_fallbacks = num_fallbacks
        self._clock = clock

    def record(
        self, pages: Sequence[PageResult], code: str | None, seconds: float
    ) -> None:
        """Log the metrics of an answered request.

        There is one line for the request, further ones if it has more than `MAX_VALUES`
        pages, and one for each error code. `code` is the code of the request's error,
        or None. `seconds` is the time from its arrival to its reply.
        """
        read_pages = [page for page in pages if page.error is None]
        first_pages, *further_pages = [
            read_pages[start : start + MAX_VALUES]
            for start in range(0, max(1, len(read_pages)), MAX_VALUES)
        ]
        memory = self._gpu_memory_bytes()
        self._log(
            {
                "Requests": ("Count", 1),
                "RequestSeconds": ("Seconds", round(seconds, 3)),
                "Pages": ("Count", len(pages)),
                "OutputTokens": (
                    "Count",
                    sum(page.output_tokens for page in read_pages),
                ),
                "Forwards": ("Count", sum(page.forwards for page in read_pages)),
                "Retries": ("Count", sum(max(0, p.attempts - 1) for p in pages)),
                "EngineFallbacks": ("Count", self._num_fallbacks()),
                **_page_times(first_pages),
                **({} if memory is None else {"GPUMemory": ("Bytes", memory)}),
            }
        )
        for some_pages in further_pages:
            self._log(_page_times(some_pages))
        # Count a failed request once, instead of each of its pages.
        codes = Counter([code] if code else [p.error.code for p in pages if p.error])
        for error_code, num_failures in codes.items():
            self._log({"Failures": ("Count", num_failures)}, Code=error_code)

    def _log(self, metrics: dict[str, tuple[str, object]], **dimensions: str) -> None:
        """Log a line with the metrics, which are pairs of unit and value by name."""
        dimensions = {"ModelId": self._model_id, **dimensions}
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [list(dimensions)],
            "Metrics": [
                {"Name": name, "Unit": unit} for name, (unit, _) in metrics.items()
            ],
        }
        logger.info(
            "metrics",
            extra={
                "_aws": {
                    "Timestamp": int(self._clock() * 1000),
                    "CloudWatchMetrics": [directive],
                },
                **dimensions,
                **{name: value for name, (_, value) in metrics.items()},
            },
        )


def _page_times(pages: Sequence[PageResult]) -> dict[str, tuple[str, object]]:
    if not pages:
        return {}
    return {
        "PageSeconds": ("Seconds", [round(page.page_seconds, 3) for page in pages]),
        "QueueSeconds": ("Seconds", [round(page.queue_seconds, 3) for page in pages]),
    }
