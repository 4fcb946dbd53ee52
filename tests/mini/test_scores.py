"""Scores of a page against the ground truth."""

from __future__ import annotations

import pytest

from handler.schema import Block
from mini.scores import compute_iou, count_lost_lines, score_page


def make_block(label: str, *bbox: int) -> Block:
    left, top, right, bottom = bbox
    return Block(label, (left, top, right, bottom), "<p>…</p>")


TITLE = make_block("Section-Header", 0, 0, 100, 20)
BODY = make_block("Text", 0, 30, 100, 90)


def test_a_perfect_reading_has_no_errors():
    result = score_page(
        "A title\n\nand text", "A title and\ttext", [TITLE, BODY], [TITLE, BODY]
    )

    assert result.num_errors == 0
    assert result.num_characters == len("A title and text")
    assert result.ious == (1.0, 1.0)
    assert result.right_labels == (True, True)


@pytest.mark.parametrize(
    ("text", "errors"),
    [("abcd", 0), ("abxd", 1), ("abd", 1), ("abccd", 1), ("", 4), ("abcdabcd", 4)],
)
def test_errors_count_inserted_deleted_and_wrong_characters(text, errors):
    assert score_page("abcd", text, [], []).num_errors == errors


def test_missing_block_counts_as_wrong():
    result = score_page("", "", [TITLE, BODY], [BODY])

    assert result.ious == (0.0, 1.0)
    assert result.right_labels == (False, True)


def test_block_matches_only_the_best_overlap():
    joined = make_block("Text", 0, 0, 100, 90)

    result = score_page("", "", [TITLE, BODY], [joined])

    assert result.ious == pytest.approx((0.0, 60 / 90))
    assert result.right_labels == (False, True)


def test_block_with_another_label_has_a_wrong_label():
    result = score_page("", "", [TITLE], [make_block("Text", 0, 0, 100, 20)])

    assert result.ious == (1.0,)
    assert result.right_labels == (False,)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((0, 0, 10, 10), (20, 20, 30, 30), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(one, other, overlap):
    assert compute_iou(one, other) == pytest.approx(overlap)


LINES = (
    "Seven barges carried gravel upstream",
    "while the lock was being widened;",
    "the oldest, built in Namur, leaked",
    "and had to be pumped out at night.",
)


@pytest.mark.parametrize("index", range(len(LINES)))
def test_a_missing_line_is_one_dropped_line(index):
    text = " ".join((*LINES[:index], *LINES[index + 1 :]))

    assert count_lost_lines(" ".join(LINES), text) == (1, 0)


@pytest.mark.parametrize("index", range(len(LINES)))
def test_a_repeated_line_is_one_doubled_line(index):
    text = " ".join((*LINES[: index + 1], *LINES[index:]))

    assert count_lost_lines(" ".join(LINES), text) == (0, 1)


def test_two_missing_lines_apart_are_two_dropped_lines():
    assert count_lost_lines(" ".join(LINES), f"{LINES[1]} {LINES[3]}") == (2, 0)


def test_wrong_letters_are_no_dropped_line():
    text = " ".join(LINES).translate(str.maketrans("aeiou", "xxxxx"))

    assert count_lost_lines(" ".join(LINES), text) == (0, 0)


@pytest.mark.parametrize(("length", "num_dropped"), [(11, 0), (12, 1)])
def test_a_dropped_line_has_at_least_twelve_characters(length, num_dropped):
    missing = "Z" * length

    assert count_lost_lines(f"before {missing} after", "before  after") == (
        num_dropped,
        0,
    )


def test_replaced_line_is_neither_dropped_nor_doubled():
    text = " ".join(LINES).replace(LINES[1], "#" * len(LINES[1]))

    assert count_lost_lines(" ".join(LINES), text) == (0, 0)


def make_table(html: str) -> Block:
    return Block("Table", (0, 0, 100, 100), html)


TABLE = make_table(
    "<table><tr><th>Pump</th><th>Bars</th></tr><tr><td>1</td><td>2</td></tr></table>"
)


def test_table_with_merged_cells_has_a_wrong_shape():
    merged = make_table(TABLE.html.replace("1</td><td>2", "1 2"))

    assert score_page("", "", [TABLE], [merged]).right_tables == (False,)


def test_table_with_a_wrong_letter_has_the_right_shape():
    wrong = make_table(TABLE.html.replace("Pump", "Pumn"))

    assert score_page("", "", [TABLE], [wrong]).right_tables == (True,)


def test_missing_table_has_a_wrong_shape():
    assert score_page("", "", [TABLE], [BODY]).right_tables == (False,)
