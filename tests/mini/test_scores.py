"""Scores of a page against the ground truth."""

from __future__ import annotations

import pytest

from handler.schema import Block
from mini.scores import compute_iou, score_page


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
