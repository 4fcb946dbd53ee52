"""What was measured on one device at one commit: a JSON file, and its plot.

Parts are run one by one, each in a process of its own, and each adds to the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

__all__ = ["AIM", "Records"]

AIM = 0.65
"""Of the roofline, at 8 and 32 pages in flight."""
_FULL = "{} in flight, graphs, drafts"


class Records:
    """`about` says what was measured on; parts are dictionaries of systems."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        slug = re.sub(r"[^a-z0-9]+", "-", str(about["device"]).lower()).strip("-")
        parts = (slug, str(about["geometry"]), str(about["commit"]))
        self.path = folder / f"{'-'.join(parts)}.json"
        self.data: dict[str, Any] = {"parts": {}}
        if self.path.exists():
            self.data = json.loads(self.path.read_text(encoding="utf-8"))
        self.data |= about

    def part(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.data["parts"].get(name, {})
        return found

    def add(self, part: str, name: str, measured: Any) -> None:
        """Take note of a system, in place of what an earlier run said of it."""
        self.data["parts"].setdefault(part, {})[name] = measured
        self.data["ratios"] = self.ratios()
        # What `chandra-sagemaker cost` looks for.
        self.data |= self.speeds()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.data, indent=1) + "\n"
        self.path.write_text(text, encoding="utf-8")

    def speeds(self) -> dict[str, float]:
        """Pages a second of the native engine: the most there were, and of one page."""
        native = self.part("native")
        found = {}
        if native:
            found["pages_per_second"] = max(
                run["pages_per_second"] for run in native.values()
            )
        if single := native.get(_FULL.format(1)):
            found["pages_per_second_single"] = single["pages_per_second"]
        return found

    def ratios(self) -> dict[str, float]:
        """Those that what was measured so far is enough for."""
        baseline, native = self.part("baseline"), self.part("native")
        found = {}
        for count in (8, 32):
            run = native.get(_FULL.format(count))
            if run:
                found[f"fraction_of_roofline_{count}"] = run["fraction_of_roofline"]
        best = native.get(_FULL.format(64))
        if best:
            found |= {
                f"pages_per_second_vs_{name.replace(' ', '_')}": best[
                    "pages_per_second"
                ]
                / run["pages_per_second"]
                for name, run in baseline.items()
            }
        single = native.get(_FULL.format(1))
        if single and "sequential" in baseline:
            found["one_page_tokens_per_second_vs_sequential"] = (
                single["tokens_per_second"]
                / baseline["sequential"]["tokens_per_second"]
            )
        for name, run in self.part("small").items():
            label = name.replace(", ", "_").replace(" ", "_")
            found[f"fraction_of_roofline_small_{label}"] = run["fraction_of_roofline"]
        return found

    def draw(self) -> Path:
        """The plot beside the file: speed, and how near to the roofline it is."""
        figure = Figure(figsize=(10, 4.5), dpi=110, layout="constrained")
        speed, nearness = figure.subplots(1, 2)
        for label, runs in self._curves().items():
            counts = [run["in_flight"] for run in runs]
            speed.plot(counts, [run["pages_per_second"] for run in runs], "o-")
            nearness.plot(
                counts,
                [run["fraction_of_roofline"] for run in runs],
                "o-",
                label=f"native, {label}",
            )
        for name, run in self.part("baseline").items():
            count = run["batch_size"]
            speed.plot([count], [run["pages_per_second"]], "x")
            nearness.plot(
                [count], [run["fraction_of_roofline"]], "x", label=f"generate, {name}"
            )
        nearness.axhline(AIM, color="grey", linewidth=0.6, linestyle=":")
        speed.set_ylabel("pages a second")
        nearness.set_ylabel("fraction of the measured roofline")
        for axes in (speed, nearness):
            axes.set_ylim(bottom=0)
            axes.set_xlabel("pages in flight")
        if nearness.get_legend_handles_labels()[0]:
            nearness.legend(frameon=False, fontsize=8)
        about = self.data
        figure.suptitle(f"{about['device']}, {about['geometry']}, {about['commit']}")
        path = self.path.with_suffix(".png")
        figure.savefig(path)
        return path

    def _curves(self) -> dict[str, list[dict[str, Any]]]:
        """Native runs by how they were run, each by the pages in flight."""
        curves: dict[str, list[dict[str, Any]]] = {}
        for name, run in self.part("native").items():
            curves.setdefault(name.partition(", ")[2], []).append(run)
        return {
            label: sorted(runs, key=lambda run: int(run["in_flight"]))
            for label, runs in curves.items()
        }
