"""Parts of the evaluation. Each reads its pages and returns its results as JSON.

A rate is a share between 0 and 1, but the character error rate can be larger: it is the
number of wrong, missing and added characters by the number of true characters.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini.evaluation.a4 import A4_SIZES, A4Format, iter_a4_pages
from mini.evaluation.chromium import (
    CHROMIUM_PAGES,
    DOCUMENTS,
    find_chromium,
    print_page,
)
from mini.evaluation.pages import (
    iter_domain_pages,
    iter_family_pages,
    iter_pillow_pages,
)
from mini.evaluation.reader import EvaluationPage, Reader
from mini.fonts import find_unseen_families
from mini.scores import PageScore, score_page
from mini.tables import count_wrong_cells, find_tables, match_tables

__all__ = ["DEFAULT_PAGES", "PARTS", "Part", "SampleSet", "read_samples"]

DEFAULT_PAGES = 300
"""Number of pages of the default domain; the other sets scale with it."""
_FAMILY_PAGES = 100
_PILLOW_PAGES = 30
_A4_PAGES = 5
_A4_POINTS = (11, 12)
_COLUMN_PAGES = 10
_COLUMN_FORMAT = A4Format(200, 11, num_columns=2)
_SAMPLES = Path(__file__).parents[2] / "samples"
_DIGITS = 5

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SampleSet:
    """Choice of the pages: a seed, and the share of the full number of pages."""

    seed: str = "1"
    share: float = 1.0

    def scale(self, num_pages: int) -> int:
        return max(1, round(num_pages * self.share))


@dataclass(frozen=True, slots=True)
class Part:
    """Part of the evaluation."""

    measure: Callable[[Reader, SampleSet], Results]
    check: Callable[[], object] = lambda: None
    """Raises an error if a program or font for the part is missing."""


@dataclass(frozen=True, slots=True)
class _Measurement:
    score: PageScore
    seconds: float
    is_truncated: bool


def measure_domain(reader: Reader, samples: SampleSet) -> Results:
    """Measure unseen pages of the default domain: text, layout, lines and tables."""
    measurements = _read_pages(
        reader, iter_domain_pages(samples.seed, samples.scale(DEFAULT_PAGES))
    )
    scores = [measurement.score for measurement in measurements]
    ious = [iou for score in scores for iou in score.ious]
    tables = [is_right for score in scores for is_right in score.right_tables]
    return _summarize(measurements) | {
        "pages_without_error": _mean(score.num_errors == 0 for score in scores),
        "blocks": len(ious),
        "mean_iou": _mean(ious),
        "right_labels": _mean(label for s in scores for label in s.right_labels),
        "tables": len(tables),
        "tables_with_right_shape": _mean(tables),
    }


def measure_unseen_fonts(reader: Reader, samples: SampleSet) -> Results:
    """Measure pages of the default domain in typefaces without training, by typeface.

    Raises MissingFontsError if one is not installed.
    """
    families = find_unseen_families()
    num_pages = max(len(families), samples.scale(_FAMILY_PAGES))
    by_family = {
        family.name: _read_pages(
            reader,
            iter_family_pages(
                samples.seed,
                family,
                num_pages // len(families) + (index < num_pages % len(families)),
            ),
        )
        for index, family in enumerate(families)
    }
    return _summarize(_join(by_family.values())) | {
        "families": {name: _summarize(read) for name, read in by_family.items()}
    }


def measure_pillow(reader: Reader, samples: SampleSet) -> Results:
    """Measure pages that only Pillow draws."""
    pages = iter_pillow_pages(samples.seed, samples.scale(_PILLOW_PAGES))
    return _summarize(_read_pages(reader, pages))


def measure_a4(reader: Reader, samples: SampleSet) -> Results:
    """Measure A4 pages by resolution and size of the text, and with two columns.

    Raises MissingFontsError if an unseen typeface is not installed.
    """
    num_pages = samples.scale(_A4_PAGES)
    one_column = {
        f"{dpi} dpi, {points} pt": _read_pages(
            reader, iter_a4_pages(samples.seed, A4Format(dpi, points), num_pages)
        )
        for dpi in A4_SIZES
        for points in _A4_POINTS
    }
    num_pages = samples.scale(_COLUMN_PAGES)
    two_columns = _read_pages(
        reader, iter_a4_pages(samples.seed, _COLUMN_FORMAT, num_pages)
    )
    return _summarize(_join(one_column.values())) | {
        "formats": {name: _summarize(read) for name, read in one_column.items()},
        "two_columns": _summarize(two_columns),
    }


def measure_chromium(reader: Reader, samples: SampleSet) -> Results:
    """Measure PDFs printed by Chromium, with drafts from the text layer and without.

    Raises MissingBrowserError or MissingFontsError if something is not installed.
    """
    del samples  # The pages are fixed.
    printed = {page.name: print_page(page) for page in CHROMIUM_PAGES}
    return {
        "pages": {
            name: {
                "with_drafts": _summarize(_read_pages(reader, [page])),
                "without_drafts": _summarize(
                    _read_pages(reader, [page], has_drafts=False)
                ),
            }
            for name, page in printed.items()
        }
    }


def measure_samples(reader: Reader, samples: SampleSet) -> Results:
    """Count wrong characters and cells in the demo's documents.

    Each page is read with drafts from the text layer and without; the image has none.
    """
    del samples  # The pages are fixed.
    return {
        "pages": {
            name: {
                "characters": len(" ".join(page.truth.text.split())),
                "cells": sum(len(row) for table in _find_tables(page) for row in table),
                "with_drafts": _count_errors(reader, page, has_drafts=True),
                "without_drafts": _count_errors(reader, page, has_drafts=False),
            }
            for name, page in read_samples().items()
        }
    }


def read_samples() -> dict[str, EvaluationPage]:
    """Return the pages of the demo's documents with their answers, by name."""
    image = (_SAMPLES / "page.png").read_bytes()
    report = (_SAMPLES / "report.pdf").read_bytes()
    pages = {"page": EvaluationPage(image, "image/png", _read_answer("page"))}
    for number in (1, 2, 3):
        name = f"report-{number}"
        pages[name] = EvaluationPage(
            report, "application/pdf", _read_answer(name), number=number
        )
    return pages


PARTS = {
    "domain": Part(measure_domain),
    "unseen_fonts": Part(measure_unseen_fonts, find_unseen_families),
    "pillow": Part(measure_pillow),
    "a4": Part(measure_a4, find_unseen_families),
    "chromium": Part(
        measure_chromium, lambda: (find_chromium(), find_unseen_families())
    ),
    "samples": Part(measure_samples),
}


def _read_answer(name: str) -> str:
    return (DOCUMENTS / f"{name}.answer.html").read_text("utf-8")


def _find_tables(page: EvaluationPage) -> list[tuple[tuple[str, ...], ...]]:
    return find_tables(page.truth.blocks)


def _count_errors(reader: Reader, page: EvaluationPage, *, has_drafts: bool) -> Results:
    content = reader.read(page, has_drafts=has_drafts).content
    true_tables = _find_tables(page)
    tables = match_tables(true_tables, find_tables(content.blocks))
    score = score_page(page.truth.text, content.text, (), ())
    return {
        "wrong_characters": score.num_errors,
        "wrong_cells": sum(map(count_wrong_cells, true_tables, tables)),
    }


def _read_pages(
    reader: Reader, pages: Iterable[EvaluationPage], *, has_drafts: bool = True
) -> list[_Measurement]:
    measurements = []
    for page in pages:
        truth = page.truth
        reading = reader.read(page, has_drafts=has_drafts)
        content = reading.content
        score = score_page(truth.text, content.text, truth.blocks, content.blocks)
        measurements.append(_Measurement(score, reading.seconds, reading.is_truncated))
    return measurements


def _join(groups: Iterable[list[_Measurement]]) -> list[_Measurement]:
    return [measurement for group in groups for measurement in group]


def _summarize(measurements: list[_Measurement]) -> Results:
    num_characters = sum(m.score.num_characters for m in measurements)
    num_errors = sum(m.score.num_errors for m in measurements)
    seconds = [m.seconds for m in measurements]
    return {
        "pages": len(measurements),
        "characters": num_characters,
        "character_error_rate": round(num_errors / max(1, num_characters), _DIGITS),
        "dropped_lines": sum(m.score.num_dropped for m in measurements),
        "doubled_lines": sum(m.score.num_doubled for m in measurements),
        "truncated_pages": sum(m.is_truncated for m in measurements),
        "seconds_a_page": round(statistics.fmean(seconds), 3),
        "seconds_of_the_slowest_page": round(max(seconds), 3),
    }


def _mean(values: Iterable[float]) -> float | None:
    """Return the mean, rounded; None without any value."""
    listed = list(values)
    return round(math.fsum(listed) / len(listed), _DIGITS) if listed else None
