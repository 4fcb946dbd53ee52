"""Pages per second of a GPU, measured or estimated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

__all__ = [
    "ESTIMATES",
    "ESTIMATE_NOTE",
    "SHIPPED",
    "Rate",
    "rate_of",
    "read_measurements",
]

SHIPPED = "measurements.json"
"""Package data: the measurements of `bench/results`, by file name.

`python -m bench.shipped` writes the file.
"""
_FIELDS = ("device", "geometry", "pages_per_second", "pages_per_second_single")

ESTIMATE_NOTE = (
    "estimates, not measurements: memory bandwidth and arithmetic of the GPU, Chandra "
    "1, A4 at 192 dpi, 1,200 tokens a page, pages always waiting"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """Pages per second of one GPU."""

    single: float
    """Rate of one page at a time."""
    together: float
    """Rate of as many pages as fit."""
    measured_in: str | None = None
    """File with the measurement of `together`; None for an estimate."""
    single_measured_in: str | None = None
    """File with the measurement of `single`; None for an estimate."""


# The single rate of the A10G is that of eager transformers. The others are bounds by
# memory bandwidth, which an eager loop does not reach.
ESTIMATES = {
    "L4": Rate(0.013, 0.051),
    "A10G": Rate(0.021, 0.091),
    "L40S": Rate(0.038, 0.429),
    "H100": Rate(0.146, 1.717),
}


def rate_of(gpu: str, results: Path | None = None) -> Rate | None:
    """Return the pages per second of a GPU; None if there is no value for it.

    `results` is a folder of measurements; None uses those that ship with the package.
    A measurement takes precedence over an estimate. `gpu` is the name in the catalogue,
    which must be a word of the measurement's device.
    """
    if results is None:
        shipped = resources.files("deploy.machines").joinpath(SHIPPED)
        measurements = {
            f"bench/results/{name}": measured
            for name, measured in json.loads(shipped.read_text("utf-8")).items()
        }
    else:
        measurements = {
            str(results / name): measured
            for name, measured in read_measurements(results).items()
        }
    for source, measured in measurements.items():
        # Match a whole word: an L4 is not an L40S, but an A100 is an A100-SXM4-40GB.
        if re.search(rf"\b{re.escape(gpu)}\b", str(measured.get("device"))):
            return _measured_rate(gpu, measured, source)
    return ESTIMATES.get(gpu)


def read_measurements(results: Path) -> dict[str, dict[str, Any]]:
    """Return the measurements of Chandra in a folder by file name, sorted.

    `make bench-gpu` writes one JSON file for each. A measurement has the name of the
    `device`, the `geometry`, `pages_per_second` of the native engine with many pages
    and, if measured, `pages_per_second_single` with one page at a time. Other files
    are ignored.
    """
    measurements: dict[str, dict[str, Any]] = {}
    for path in sorted(results.glob("*.json")):
        try:
            measured = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(measured, dict) or measured.get("geometry") != "chandra":
            continue
        if isinstance(measured.get("pages_per_second"), int | float):
            measurements[path.name] = {
                name: measured[name] for name in _FIELDS if name in measured
            }
    return measurements


def _measured_rate(gpu: str, measured: Mapping[str, Any], source: str) -> Rate:
    """Return the rates of a measurement; `source` is its file.

    A `single` rate that was not measured is estimated.
    """
    together = float(measured["pages_per_second"])
    single = measured.get("pages_per_second_single")
    if isinstance(single, int | float):
        return Rate(float(single), together, source, source)
    # A single page at a time was not measured, but cannot be faster than many.
    estimate = ESTIMATES[gpu].single if gpu in ESTIMATES else together
    return Rate(min(together, estimate), together, source)
