"""Pages a second of a GPU: measured where somebody has, estimated otherwise."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ESTIMATES", "ESTIMATE_NOTE", "Rate", "rate_of"]

ESTIMATE_NOTE = (
    "estimates, not measurements: memory bandwidth and arithmetic of the GPU, Chandra "
    "1, A4 at 192 dpi, 1,200 tokens a page, pages always waiting"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one GPU."""

    single: float
    """One page at a time."""
    together: float
    """As many pages as fit."""
    measured_in: str | None = None
    """The file that says so of many pages; None for an estimate."""
    single_measured_in: str | None = None
    """The same of one page at a time, which is a measurement of its own."""


# A10G at one page at a time is for eager transformers; the others are bounds by
# bandwidth, which no eager loop reaches.
ESTIMATES = {
    "L4": Rate(0.013, 0.051),
    "A10G": Rate(0.021, 0.091),
    "L40S": Rate(0.038, 0.429),
    "H100": Rate(0.146, 1.717),
}


def rate_of(gpu: str, results: Path) -> Rate | None:
    """What a GPU reads; None where nobody knows.

    A measurement is what `make bench-gpu` writes into `bench/results`: a JSON object
    with the name of the `device`, `pages_per_second` of the native engine and, for
    one page at a time, `pages_per_second_single`.
    """
    for path in sorted(results.glob("*.json")) if results.is_dir() else []:
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if not isinstance(found, dict) or found.get("geometry") != "chandra":
            continue
        # As a word: an L4 is no L40S, and an A100 is called A100-SXM4-40GB.
        if re.search(rf"\b{re.escape(gpu)}\b", str(found.get("device"))) is None:
            continue
        together = found.get("pages_per_second")
        single = found.get("pages_per_second_single")
        if isinstance(together, int | float):
            if isinstance(single, int | float):
                return Rate(float(single), float(together), str(path), str(path))
            # One page at a time is slower than many; how much, nobody has measured.
            guess = ESTIMATES[gpu].single if gpu in ESTIMATES else together
            return Rate(min(float(together), guess), float(together), str(path))
    return ESTIMATES.get(gpu)
