"""Copy of the measurements that ships with `deploy`: `python -m bench.shipped`.

`deploy` is installed without `bench/results`, so its package holds the few numbers of
them that it needs. `make bench-gpu` updates the copy after a measurement.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from bench.report import say
from deploy.machines.throughput import SHIPPED, read_measurements

__all__ = ["RESULTS", "main", "render_measurements", "write_measurements"]

RESULTS = Path(__file__).parent / "results"


def render_measurements(results: Path = RESULTS) -> str:
    """Return the text of the shipped file for a folder of results."""
    return json.dumps(read_measurements(results), indent=2) + "\n"


def write_measurements() -> Path:
    """Write the shipped file for `bench/results`, and return its path."""
    path = Path(str(resources.files("deploy.machines"))) / SHIPPED
    path.write_text(render_measurements(), "utf-8")
    return path


def main() -> None:
    """Write the shipped file and print its path."""
    say(f"wrote {write_measurements()}")


if __name__ == "__main__":
    main()
