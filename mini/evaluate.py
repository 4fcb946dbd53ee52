"""Evaluation of a checkpoint on unseen pages: `python -m mini.evaluate`.

Pages go one at a time, as PNG files and PDFs, through the code that serves them, and
the result is compared with the ground truth. The parts are unseen pages of the default
domain, typefaces without training, pages that only Pillow draws, A4 pages, PDFs that
Chromium prints, and the demo's documents.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from handler.schema import PageContent
from mini.build import DEFAULT_OUTPUT
from mini.evaluation.chromium import MissingBrowserError
from mini.evaluation.pages import render_unseen_pages
from mini.evaluation.parts import DEFAULT_PAGES, PARTS, SampleSet
from mini.evaluation.reader import (
    CheckpointReader,
    EvaluationPage,
    PageReading,
    Reader,
    parse_answer,
)
from mini.evaluation.report import read_report, replace_tables, write_report
from mini.fonts import MissingFontsError
from mini.pages import RenderedPage

__all__ = [
    "CheckpointReader",
    "EvaluationPage",
    "PageReading",
    "evaluate",
    "hash_weights",
    "main",
    "parse_content",
    "render_unseen_pages",
]

logger = logging.getLogger(__name__)

DEFAULT_REPORT = Path(__file__).with_name("evaluation.json")
README = Path(__file__).with_name("README.md")
_HASH_DIGITS = 16


def parse_content(raw: str, page: RenderedPage) -> PageContent:
    """Parse the model's output for a page as the service does."""
    return parse_answer(raw, page.image.size)


def evaluate(
    reader: Reader,
    report: Path,
    *,
    names: Sequence[str],
    samples: SampleSet,
    weights: str,
) -> None:
    """Measure the named parts, and write each into the report when it ends.

    The report keeps the other parts that it has. `weights` identifies the checkpoint.
    Raises MissingFontsError or MissingBrowserError before anything is read.
    """
    for name in names:
        PARTS[name].check()
    for name in names:
        started = time.monotonic()
        results = PARTS[name].measure(reader, samples)
        parts = read_report(report)
        parts[name] = results | {
            "seed": samples.seed,
            "weights": weights,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "torch": torch.__version__,
        }
        # The order of the parts in the report does not depend on that of measuring.
        write_report(report, {key: parts[key] for key in PARTS if key in parts})
        rate = results.get("character_error_rate")
        logger.info(
            "%s: %s%.0f s",
            name,
            "" if rate is None else f"character error rate {100 * rate:.2f} %, ",
            time.monotonic() - started,
        )


def hash_weights(checkpoint: Path) -> str:
    """Return the first digits of the SHA-256 of the checkpoint's weights."""
    content = (checkpoint / "model.safetensors").read_bytes()
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]


def main(arguments: list[str] | None = None) -> int:
    """Evaluate a checkpoint, write the report, and return the exit status."""
    options = _parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    if options.table:
        text = replace_tables(README.read_text("utf-8"), read_report(options.report))
        README.write_text(text, "utf-8")
        return 0
    try:
        evaluate(
            CheckpointReader(options.checkpoint),
            options.report,
            names=options.only,
            samples=SampleSet(options.seed, options.pages / DEFAULT_PAGES),
            weights=hash_weights(options.checkpoint),
        )
    except (MissingFontsError, MissingBrowserError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mini.evaluate", description=__doc__
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=DEFAULT_OUTPUT,
        help="folder of the checkpoint (default model-store/mini)",
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=DEFAULT_REPORT,
        help="output file (default mini/evaluation.json)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=tuple(PARTS),
        metavar="PART",
        help=f"parts to measure (default all: {', '.join(PARTS)}); the report keeps "
        "the results of the others",
    )
    parser.add_argument(
        "--pages",
        type=int,
        default=DEFAULT_PAGES,
        help=f"pages of the part `domain` (default {DEFAULT_PAGES}); the other random "
        "sets scale with it",
    )
    parser.add_argument("--seed", default="1", help="seed of the pages (default 1)")
    parser.add_argument(
        "--table",
        action="store_true",
        help="measure nothing, and write the report into the tables of mini/README.md",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
