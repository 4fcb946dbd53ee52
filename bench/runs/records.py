"""Results of one device at one commit: a JSON file and its plot.

The file is replaced atomically after every item, so a killed process loses no earlier
measurement. A later run reads the file and continues.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

__all__ = ["TARGET_FRACTION", "Records"]

TARGET_FRACTION = 0.65
"""Target fraction of the roofline with 8 and 32 concurrent pages."""
_FULL_VARIANT = "{} in flight, graphs, drafts"
_ABOUT_KEYS = ("device", "geometry", "commit")


class Records:
    """Measurements by part and name, and the state of each item.

    `about` has device, geometry and commit, which form the file's name. `now` returns
    the time of day in seconds, which all processes share.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        slug = re.sub(r"[^a-z0-9]+", "-", str(about["device"]).lower()).strip("-")
        parts = (slug, str(about["geometry"]), str(about["commit"]))
        self.path = folder / f"{'-'.join(parts)}.json"
        self._about = about
        self._now = now
        self.reload()

    @classmethod
    def open(cls, path: Path) -> Records:
        """Open the existing file of another process."""
        about = json.loads(path.read_text(encoding="utf-8"))
        return cls(path.parent, {key: about[key] for key in _ABOUT_KEYS})

    def reload(self) -> None:
        """Read the file again, which another process may have written."""
        self.data: dict[str, Any] = {"parts": {}}
        if self.path.exists():
            self.data = json.loads(self.path.read_text(encoding="utf-8"))
        self.data |= self._about

    def part(self, name: str) -> dict[str, Any]:
        """Return the measurements of a part by name; empty if there are none."""
        results: dict[str, Any] = self.data["parts"].get(name, {})
        return results

    def add(self, part: str, name: str, measured: Any) -> None:
        """Store a measurement, replacing an earlier one of the same item."""
        self.data["parts"].setdefault(part, {})[name] = measured
        item = self._item(part, name)
        item |= {"state": "measured"}
        if (began := item.pop("began", None)) is not None:
            item["took_seconds"] = round(self._now() - began, 2)
        self.save()

    def expect(self, items: Iterable[tuple[str, str]]) -> None:
        """Note the items that a run plans to measure, in case the time runs out."""
        for part, name in items:
            self._item(part, name)["state"] = "open"
        self.save()

    def begin(self, part: str, name: str, *, limit_seconds: float) -> None:
        """Note that an item is running, and its time limit."""
        item = self._item(part, name)
        item["state"] = "running"
        item["attempts"] = item.get("attempts", 0) + 1
        item["began"] = self._now()
        item["limit_seconds"] = limit_seconds
        self.save()

    def fail(self, part: str, name: str, state: str, why: str) -> None:
        """Store the reason why an item has no measurement."""
        item = self._item(part, name)
        item |= {"state": state, "why": why}
        item.pop("began", None)
        self.save()

    def interrupt(self, why: str) -> None:
        """Note that a run was cut off; the running item does not count as attempted."""
        for item in self.items().values():
            if item.get("state") not in ("running", "open"):
                continue
            if item["state"] == "running":
                item["attempts"] -= 1
                del item["began"]
            item |= {"state": "out of time", "why": why}
        self.save()

    def drop_measurements(self) -> None:
        """Drop all measurements, also from the file, to measure everything again."""
        self.data = {"parts": {}} | dict(self._about)
        self.save()

    def items(self) -> dict[str, dict[str, Any]]:
        """Return the mutable state of every item, by "part: name"."""
        states: dict[str, dict[str, Any]] = self.data.setdefault("items", {})
        return states

    def attempts(self, part: str, name: str) -> int:
        """Return the number of times an item began, in all processes."""
        return int(self.items().get(f"{part}: {name}", {}).get("attempts", 0))

    def is_measured(self, part: str, name: str) -> bool:
        return name in self.part(part)

    def num_begun(self) -> int:
        """Return the number of attempts of all items together."""
        return sum(item.get("attempts", 0) for item in self.items().values())

    def overdue_seconds(self) -> float:
        """Return the seconds that the running item is past its limit, or 0."""
        for item in self.items().values():
            if item.get("state") == "running":
                overdue: float = self._now() - item["began"] - item["limit_seconds"]
                return max(0.0, overdue)
        return 0.0

    def _item(self, part: str, name: str) -> dict[str, Any]:
        """Return the state of an item, which is created, without its last `why`."""
        item: dict[str, Any] = self.items().setdefault(f"{part}: {name}", {})
        item.pop("why", None)
        return item

    def save(self) -> None:
        """Write the file, replacing it as a whole."""
        self.data["ratios"] = self.ratios()
        # These keys are part of what ships with `deploy`; see `bench.shipped`.
        self.data |= self.speeds()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.data, indent=1) + "\n"
        partial = self.path.with_suffix(".part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path)

    def speeds(self) -> dict[str, float]:
        """Return the native engine's pages per second: the best, and of one page.

        Values that were not measured are left out.
        """
        native = self.part("native")
        values = {}
        if native:
            values["pages_per_second"] = max(
                run["pages_per_second"] for run in native.values()
            )
        if single := native.get(_FULL_VARIANT.format(1)):
            values["pages_per_second_single"] = single["pages_per_second"]
        return values

    def ratios(self) -> dict[str, float]:
        """Return the ratios that can be computed from the measurements so far."""
        baseline, native = self.part("baseline"), self.part("native")
        values = {}
        for count in (8, 32):
            run = native.get(_FULL_VARIANT.format(count))
            if run:
                values[f"fraction_of_roofline_{count}"] = run["fraction_of_roofline"]
        best = native.get(_FULL_VARIANT.format(64))
        if best:
            values |= {
                f"pages_per_second_vs_{name.replace(' ', '_')}": best[
                    "pages_per_second"
                ]
                / run["pages_per_second"]
                for name, run in baseline.items()
            }
        single = native.get(_FULL_VARIANT.format(1))
        if single and "sequential" in baseline:
            values["one_page_tokens_per_second_vs_sequential"] = (
                single["tokens_per_second"]
                / baseline["sequential"]["tokens_per_second"]
            )
        for name, run in self.part("small").items():
            label = name.replace(", ", "_").replace(" ", "_")
            values[f"fraction_of_roofline_small_{label}"] = run["fraction_of_roofline"]
        return values

    def draw(self) -> Path:
        """Plot the speed and its fraction of the roofline; return the PNG's path."""
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
        nearness.axhline(TARGET_FRACTION, color="grey", linewidth=0.6, linestyle=":")
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
        """Return the native runs by variant, sorted by concurrent pages."""
        curves: dict[str, list[dict[str, Any]]] = {}
        for name, run in self.part("native").items():
            curves.setdefault(name.partition(", ")[2], []).append(run)
        return {
            label: sorted(runs, key=lambda run: int(run["in_flight"]))
            for label, runs in curves.items()
        }
