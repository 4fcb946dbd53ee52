"""Parsing of labels and boxes."""

from __future__ import annotations

import pytest

from handler.postprocess.blocks.layout import LABELS, parse_bbox, parse_label
from handler.profiles import BboxFormat

JSON_1024 = BboxFormat.JSON_1024
SPACED_1000 = BboxFormat.SPACED_1000


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    "change_spelling", [str.lower, str.upper, lambda s: s.replace("-", "_")]
)
def test_known_labels_are_recognised_in_any_spelling(label, change_spelling):
    assert parse_label(change_spelling(label)) == label
    assert parse_label(f" {change_spelling(label).replace('-', ' ')} ") == label


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (None, "Block"),
        ("", "Block"),
        ("<b>", "b"),
        ("Stamp", "Stamp"),
        ("Hand Written_2", "Hand Written_2"),
        ('Text" onclick="x', "Text onclickx"),
        ("日本", "Block"),
        ("7 Seals", "Seals"),
        ("x" * 99, "x" * 41),
    ],
)
def test_unknown_labels_are_sanitised_and_kept(value, label):
    assert parse_label(value) == label


@pytest.mark.parametrize(
    ("value", "bbox_format", "bbox"),
    [
        ("[0, 0, 1024, 1024]", JSON_1024, (0, 0, 2048, 1000)),
        ("[512, 256, 768, 512]", JSON_1024, (1024, 250, 1536, 500)),
        ("0 0 1000 1000", SPACED_1000, (0, 0, 2048, 1000)),
        ("500 250 750 500", SPACED_1000, (1024, 250, 1536, 500)),
        ("512 256 768 512", JSON_1024, (1024, 250, 1536, 500)),
        ("  [ 500,250,\t750 , 500.0 ] ", SPACED_1000, (1024, 250, 1536, 500)),
        ("[768, 512, 512, 256]", JSON_1024, (1024, 250, 1536, 500)),
        ("[-50, -1, 512, 2000]", JSON_1024, (0, 0, 1024, 1000)),
        ("[1e3, 0, 512, 512]", JSON_1024, (1024, 0, 2000, 500)),
    ],
)
def test_boxes_are_scaled_to_pixels_and_clipped_to_the_page(value, bbox_format, bbox):
    assert parse_bbox(value, bbox_format, width=2048, height=1000) == bbox


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "[]",
        "[1, 2",
        "1 2 3",
        "1 2 3 4 5",
        "a b c d",
        "[1, 2, NaN, 4]",
        "[1, 2, Infinity, 4]",
        "[1, 2, 1e999, 4]",
        "[10, 10, 10, 400]",
        "[10, 10, 10.1, 400]",
        "[2000, 2000, 3000, 3000]",
        "[-9, -9, -1, -1]",
        "9" * 5000,
        "1 2 3 " + "4" * 5000,
        "{'x': 1}",
    ],
)
def test_unusable_boxes_are_none(value):
    assert parse_bbox(value, JSON_1024, width=1000, height=1000) is None


def test_adjacent_boxes_keep_their_common_edge_in_pixels():
    upper = parse_bbox("0 0 500 333", SPACED_1000, width=777, height=777)
    lower = parse_bbox("0 333 500 700", SPACED_1000, width=777, height=777)

    assert upper is not None
    assert lower is not None
    assert upper[3] == lower[1]


def test_page_of_size_zero_has_no_boxes():
    assert parse_bbox("0 0 500 333", SPACED_1000, width=0, height=0) is None
