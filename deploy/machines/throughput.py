"""Pages a second of a GPU: measured, or else estimated."""

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
    """Pages a second of one GPU."""

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


def rate_of(gpu: str, results: Path) -> Rate | None:
    """Return the rate of a GPU; None if it was neither measured nor estimated.

    `make bench-gpu` writes measurements into `bench/results`, each a JSON object
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
        # Match a whole word: an L4 is not an L40S, and an A100 is called
        # A100-SXM4-40GB.
        if re.search(rf"\b{re.escape(gpu)}\b", str(found.get("device"))) is None:
            continue
        together = found.get("pages_per_second")
        single = found.get("pages_per_second_single")
        if isinstance(together, int | float):
            if isinstance(single, int | float):
                return Rate(float(single), float(together), str(path), str(path))
            # One page at a time is slower than many, by how much was not measured.
            guess = ESTIMATES[gpu].single if gpu in ESTIMATES else together
            return Rate(min(float(together), guess), float(together), str(path))
    return ESTIMATES.get(gpu)
