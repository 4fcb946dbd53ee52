"""Results of the evaluation for readers whose errors are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mini.build import DEFAULT_OUTPUT
from mini.evaluate import DEFAULT_REPORT, README, evaluate, hash_weights
from mini.evaluation.parts import PARTS, SampleSet
from mini.evaluation.reader import EvaluationPage, PageReading, parse_answer
from mini.evaluation.report import (
    TABLE_END,
    TABLE_START,
    read_report,
    render_tables,
    replace_tables,
)
from mini.fonts import MissingFontsError, find_unseen_families

FEW = SampleSet(seed="test", share=12 / 300)
TEXT = re.compile(r"(?<=<p>)[^<&]{60,}(?=</p>)")


def copy_answer(answer: str) -> str:
    return answer


@dataclass
class TruthReader:
    """Reader that knows the truth, and changes one answer once."""

    change: Callable[[str], str] = copy_answer
    drafts: list[bool] = field(default_factory=list)
    has_changed: bool = False

    def read(self, page: EvaluationPage, *, has_drafts: bool = True) -> PageReading:
        self.drafts.append(has_drafts)
        answer = page.answer if self.has_changed else self.change(page.answer)
        self.has_changed = self.has_changed or answer != page.answer
        return PageReading(parse_answer(answer, page.size), float(len(self.drafts)))


def replace_text(change: Callable[[str], str]) -> Callable[[str], str]:
    """Return a change of the first long paragraph of an answer."""
    return lambda answer: TEXT.sub(lambda match: change(match[0]), answer, count=1)


drop_line = replace_text(lambda text: text[:10] + text[45:])
double_line = replace_text(lambda text: text[:45] + text[10:])
change_letter = replace_text(lambda text: text[:20] + "\N{PILCROW SIGN}" + text[21:])


def merge_cells(answer: str) -> str:
    return answer.replace("</td><td>", " ", 1)


def measure(name: str, change: Callable[[str], str] = copy_answer) -> dict[str, Any]:
    """Return the results of a part for a reader that makes one change."""
    return PARTS[name].measure(TruthReader(change), FEW)


@pytest.fixture
def _unseen_fonts():
    try:
        find_unseen_families()
    except MissingFontsError as error:
        pytest.skip(str(error))


def test_a_perfect_reader_has_perfect_results():
    results = measure("domain")

    assert results["pages"] == 12
    assert results["character_error_rate"] == 0
    assert results["pages_without_error"] == 1
    assert results["mean_iou"] == 1
    assert results["right_labels"] == 1
    assert results["dropped_lines"] == results["doubled_lines"] == 0
    assert results["tables"] > 0
    assert results["tables_with_right_shape"] == 1


def test_seconds_are_those_of_the_reader():
    results = measure("domain")

    assert results["seconds_a_page"] == pytest.approx((1 + 12) / 2)
    assert results["seconds_of_the_slowest_page"] == 12


@pytest.mark.parametrize(
    ("change", "num_errors", "lines"),
    [
        pytest.param(drop_line, 35, (1, 0), id="dropped"),
        pytest.param(double_line, 35, (0, 1), id="doubled"),
        pytest.param(change_letter, 1, (0, 0), id="letter"),
    ],
)
def test_changed_text_counts_exactly_once(change, num_errors, lines):
    results = measure("domain", change)

    # White space at the ends of the changed text may be joined.
    errors = results["character_error_rate"] * results["characters"]
    assert errors == pytest.approx(num_errors, abs=1.1)
    assert (results["dropped_lines"], results["doubled_lines"]) == lines
    assert results["pages_without_error"] == pytest.approx(11 / 12, abs=1e-4)
    assert results["tables_with_right_shape"] == 1


def test_merged_cells_make_one_table_wrong():
    results = measure("domain", merge_cells)

    num_wrong = (1 - results["tables_with_right_shape"]) * results["tables"]
    assert num_wrong == pytest.approx(1, abs=1e-3)
    assert results["dropped_lines"] == results["doubled_lines"] == 0


def test_the_same_seed_gives_the_same_results():
    assert measure("pillow") == measure("pillow")


def test_pages_drawn_by_pillow_are_full_of_text():
    results = measure("pillow", drop_line)

    assert results["pages"] == 1
    assert results["characters"] > 800
    assert results["character_error_rate"] > 0


@pytest.mark.usefixtures("_unseen_fonts")
def test_results_are_given_for_each_unseen_typeface():
    results = measure("unseen_fonts", change_letter)

    assert results["pages"] == 6
    rates = [family["character_error_rate"] for family in results["families"].values()]
    assert len(rates) == 6
    assert sum(rate > 0 for rate in rates) == 1


@pytest.mark.usefixtures("_unseen_fonts")
def test_a4_pages_have_all_resolutions_and_sizes():
    results = measure("a4")

    assert list(results["formats"]) == [
        f"{dpi} dpi, {points} pt" for dpi in (150, 200, 300) for points in (11, 12)
    ]
    assert results["two_columns"]["pages"] == 1
    assert results["character_error_rate"] == 0


def test_the_samples_are_read_with_and_without_drafts():
    reader = TruthReader()

    results = PARTS["samples"].measure(reader, FEW)

    assert reader.drafts == [True, False] * 4
    assert results["pages"]["report-2"]["cells"] == 15
    assert all(
        page[drafts] == {"wrong_characters": 0, "wrong_cells": 0}
        for page in results["pages"].values()
        for drafts in ("with_drafts", "without_drafts")
    )


def test_merged_cells_of_a_sample_count_as_wrong():
    results = measure("samples", merge_cells)

    # The second row of the table has three cells instead of four, all but one moved.
    assert results["pages"]["page"]["with_drafts"]["wrong_cells"] == 4
    assert results["pages"]["page"]["without_drafts"]["wrong_cells"] == 0


def evaluate_parts(report, *names: str) -> None:
    evaluate(TruthReader(), report, names=names, samples=FEW, weights="0123")


def test_the_report_keeps_the_other_parts(tmp_path):
    report = tmp_path / "report.json"
    evaluate_parts(report, "samples")
    before = read_report(report)

    evaluate_parts(report, "pillow")

    after = read_report(report)
    assert list(after) == ["pillow", "samples"]
    assert after["samples"] == before["samples"]
    assert after["pillow"]["weights"] == "0123"


def test_tables_show_the_numbers_of_the_report(tmp_path):
    report = tmp_path / "report.json"
    evaluate_parts(report, "domain", "samples")

    tables = render_tables(read_report(report))

    assert "| 12 pages of the domain | result |\n| --- | --- |\n" in tables
    assert "| mean IoU of bounding boxes | 1.00 |" in tables
    assert "| report-2 | 0 of " in tables


def test_replaced_tables_keep_the_rest_of_the_document():
    text = f"before\n{TABLE_START}old\n{TABLE_END}after\n"

    replaced = replace_tables(text, {})

    assert "old" not in replaced
    assert replaced.startswith(f"before\n{TABLE_START}")
    assert replaced.endswith(f"{TABLE_END}after\n")


def test_document_without_place_for_tables_is_refused():
    with pytest.raises(ValueError, match="end of results"):
        replace_tables("a document", {})


def test_the_readme_shows_the_committed_results():
    text = README.read_text("utf-8")

    assert replace_tables(text, read_report(DEFAULT_REPORT)) == text


def test_committed_results_are_complete_and_of_these_weights():
    parts = json.loads(DEFAULT_REPORT.read_text("utf-8"))["parts"]

    assert list(parts) == list(PARTS)
    weights = hash_weights(DEFAULT_OUTPUT)
    assert {part["weights"] for part in parts.values()} == {weights}
