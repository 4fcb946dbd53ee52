"""Evaluation of a checkpoint on unseen pages: `python -m mini.evaluate`.

Pages go as PNG files, one at a time, through the code that serves them, and the result
is compared with the ground truth.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from handler.engine.device.model import load_model
from handler.engine.request import EngineOutput, EngineRequest
from handler.engine.selection.choice import choose_engine
from handler.postprocess import ConversionOptions, PageGeometry, convert_page
from handler.preprocess.document import decode_page
from handler.preprocess.limits import Limits
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.sandbox.wire import Descriptor
from handler.schema import PageContent
from handler.settings import EngineSettings
from handler.weights.source import Source, fetch
from mini.build import DEFAULT_OUTPUT
from mini.pages import Domain, RenderedPage, render_page
from mini.scores import PageScore, score_page

__all__ = [
    "CheckpointReader",
    "PageReading",
    "evaluate",
    "main",
    "parse_content",
    "render_unseen_pages",
]

logger = logging.getLogger(__name__)

PROFILE = PROFILES["mini"]
DEFAULT_REPORT = Path(__file__).with_name("evaluation.json")


@dataclass(frozen=True, slots=True)
class PageReading:
    """Result for a page."""

    content: PageContent
    raw: str
    seconds: float


class CheckpointReader:
    """Checkpoint with the decoder, engine and parser of the service."""

    def __init__(self, checkpoint: Path) -> None:
        weights = fetch(
            Source("folder", str(checkpoint)), EngineSettings(), checkpoint / "none"
        )
        model = load_model(weights, "cpu")
        self._engine = choose_engine(model, EngineSettings(), PROFILE.name).engine
        self._prompt = load_prompts(PROFILE)["ocr_layout"]

    def read(self, page: RenderedPage) -> PageReading:
        """Read a page from a temporary PNG file, and return its blocks and the time."""
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            page.image.save(file.name)
            started = time.monotonic()
            document = Descriptor(file.fileno())
            seen = decode_page(document, "image/png", 1, PROFILE.sizing, Limits())
            self._engine.submit(
                EngineRequest("1", "1", seen, self._prompt, PROFILE.max_output_tokens)
            )
            output = self._generate()
            content = parse_content(output.text, page)
            return PageReading(content, output.text, time.monotonic() - started)

    def _generate(self) -> EngineOutput:
        while True:
            for output in self._engine.step(lambda: None):
                return output


def parse_content(raw: str, page: RenderedPage) -> PageContent:
    """Parse the model's output for a page as the service does."""
    return convert_page(
        raw,
        PageGeometry(1, page.image.width, page.image.height, PROFILE.bbox_format),
        ConversionOptions("ocr_layout", include_headers_footers=True),
    )


def render_unseen_pages(
    seed: str, domain: Domain | None = None
) -> Iterator[RenderedPage]:
    """Yield random pages of the domain without end, which the training does not use."""
    rng = random.Random(f"unseen/{seed}")
    while True:
        page = render_page(rng, domain or Domain())
        if page.blocks:
            yield page


def evaluate(checkpoint: Path, *, num_pages: int, seed: str) -> dict[str, Any]:
    """Read `num_pages` unseen pages with a checkpoint, and return the scores.

    The same seed gives the same pages.
    """
    reader = CheckpointReader(checkpoint)
    scores: list[PageScore] = []
    seconds: list[float] = []
    for _, page in zip(range(num_pages), render_unseen_pages(seed), strict=False):
        truth = parse_content(page.html, page)
        reading = reader.read(page)
        content = reading.content
        scores.append(
            score_page(truth.text, content.text, truth.blocks, content.blocks)
        )
        seconds.append(reading.seconds)
    ious = [value for s in scores for value in s.ious]
    labels = [value for s in scores for value in s.right_labels]
    num_characters = sum(s.num_characters for s in scores)
    return {
        "pages": num_pages,
        "seed": seed,
        "characters": num_characters,
        "blocks": len(ious),
        "character_error_rate": sum(s.num_errors for s in scores) / num_characters,
        "pages_without_error": sum(s.num_errors == 0 for s in scores) / num_pages,
        "mean_iou": statistics.fmean(ious),
        "right_labels": statistics.fmean(labels),
        "seconds_a_page": statistics.fmean(seconds),
        "seconds_of_the_slowest_page": max(seconds),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
    }


def main(arguments: list[str] | None = None) -> int:
    """Evaluate a checkpoint, write the report, and return the exit status."""
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
        "--pages", type=int, default=100, help="number of pages (default 100)"
    )
    parser.add_argument("--seed", default="1", help="seed of the pages (default 1)")
    parser.add_argument(
        "--report",
        type=Path,
        default=DEFAULT_REPORT,
        help="output file (default mini/evaluation.json)",
    )
    options = parser.parse_args(arguments)

    logging.basicConfig(level=logging.WARNING)
    report = evaluate(options.checkpoint, num_pages=options.pages, seed=options.seed)
    text = json.dumps(report, indent=2) + "\n"
    options.report.write_text(text, "utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
