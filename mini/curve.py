"""Plot of the learning curve: `python -m mini.curve`.

It writes `history.json` and `curve.png`, which are committed, from a training state.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

__all__ = ["main"]

FOLDER = Path(__file__).parent
LOSSES = {
    "reading": "answer, nats a token",
    "cells": "cells, nats a slot",
    "layout": "layout, nats a block",
    "places": "places, nats a head",
}


def main(arguments: list[str] | None = None) -> int:
    """Write the history and its plot, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mini.curve", description=__doc__)
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("build/mini/state.pt"),
        help="training state (default build/mini/state.pt)",
    )
    options = parser.parse_args(arguments)

    history = torch.load(options.state, map_location="cpu")["history"]
    text = "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in history) + "\n]\n"
    (FOLDER / "history.json").write_text(text, "utf-8")
    _draw_curve(history, FOLDER / "curve.png")
    return 0


def _draw_curve(history: list[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=110)
    for name, label in LOSSES.items():
        entries = [entry for entry in history if name in entry]
        axes.plot(
            [entry["pages"] / 1000 for entry in entries],
            [entry[name] for entry in entries],
            label=label,
        )
    stages = {entry["stage"]: entry["pages"] / 1000 for entry in reversed(history)}
    for stage, start in stages.items():
        axes.axvline(start, color="grey", linewidth=0.6, linestyle=":")
        axes.annotate(
            stage, (start, 1), xycoords=("data", "axes fraction"), fontsize=8,
            xytext=(3, -10), textcoords="offset points",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("pages seen, thousands")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    raise SystemExit(main())
