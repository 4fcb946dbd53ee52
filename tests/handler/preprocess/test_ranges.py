"""Tests of the parsing of page ranges."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from handler.errors import DocumentTooLargeError, InvalidOptionError
from handler.preprocess import parse_page_ranges


@pytest.mark.parametrize(
    ("ranges", "pages"),
    [
        (None, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("1", [1]),
        ("9", [9]),
        ("2-4", [2, 3, 4]),
        ("8-", [8, 9]),
        ("1-3,7,9-", [1, 2, 3, 7, 9]),
        (" 1 - 3 , 7 ", [1, 2, 3, 7]),
        ("7,1-3", [1, 2, 3, 7]),
        ("2-5,1-3,3,3", [1, 2, 3, 4, 5]),
        ("1-9,2-3,5", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_pages_are_sorted_and_unique(ranges, pages):
    assert parse_page_ranges(ranges, num_pages=9, max_pages=9) == pages


@pytest.mark.parametrize(
    ("ranges", "sentence"),
    [
        ("", "write pages as 1-3,7,9-"),
        (" ", "write pages as 1-3,7,9-"),
        (",", "write pages as 1-3,7,9-"),
        ("1,,2", "write pages as 1-3,7,9-"),
        ("all", "'all'; write pages as"),
        ("-2", "'-2'; write pages as"),
        ("1-2-3", "'1-2-3'; write pages as"),
        ("1.5", "'1.5'; write pages as"),
        ("٣", "write pages as"),
        ("9" * 5000, "write pages as"),
        ("0", "pages count from 1"),
        ("0-3", "pages count from 1"),
        ("5-3", "write 3-5"),
        ("10", "has 9 pages"),
        ("10-", "has 9 pages"),
        ("1-10", "has 9 pages"),
        ("1-99999999999", "has 9 pages"),
    ],
)
def test_error_of_invalid_range_says_what_to_write(ranges, sentence):
    with pytest.raises(InvalidOptionError) as caught:
        parse_page_ranges(ranges, num_pages=9, max_pages=9)

    assert sentence in caught.value.detail
    assert len(caught.value.detail) < 200


def test_error_uses_the_singular_for_one_page():
    with pytest.raises(InvalidOptionError, match=r"has 1 page$"):
        parse_page_ranges("2", num_pages=1, max_pages=9)


def test_error_of_too_many_pages_suggests_a_range():
    with pytest.raises(DocumentTooLargeError, match=r"1200 pages.*1000.*1-1000"):
        parse_page_ranges(None, num_pages=1200, max_pages=1000)


def test_pages_of_a_too_long_document_can_be_selected():
    assert parse_page_ranges("1199-", num_pages=1200, max_pages=1000) == [1199, 1200]


@pytest.mark.parametrize("ranges", ["1-", "1-999999999999", "1-600,601-1001"])
def test_too_many_selected_pages_are_rejected_early(ranges):
    with pytest.raises(DocumentTooLargeError, match="more than 1000 pages"):
        parse_page_ranges(ranges, num_pages=10**12, max_pages=1000)


def test_duplicate_pages_count_once():
    assert len(parse_page_ranges(",".join(["1-1000"] * 50), 1000, 1000)) == 1000


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=6)
)
def test_ranges_select_the_same_pages_as_a_set(pairs):
    intervals = [tuple(sorted(pair)) for pair in pairs]
    ranges = ",".join(f"{first}-{last}" for first, last in intervals)
    expected = {page for first, last in intervals for page in range(first, last + 1)}

    assert parse_page_ranges(ranges, 30, 30) == sorted(expected)


def test_many_blanks_are_parsed_in_linear_time():
    blanks = " " * 100_000  # a backtracking pattern would try five billion pairs

    assert parse_page_ranges(f"1{blanks}-{blanks}2", num_pages=2, max_pages=2) == [1, 2]
    with pytest.raises(InvalidOptionError, match="write pages as") as caught:
        parse_page_ranges(f"1{blanks}-{blanks}{blanks}x", num_pages=2, max_pages=2)
    assert len(caught.value.detail) < 200


def test_many_equal_ranges_are_merged():
    ranges = ",".join(["1-1000"] * 1100)

    assert parse_page_ranges(ranges, num_pages=1000, max_pages=1000) == [
        *range(1, 1001)
    ]


def test_error_of_missing_page_omits_blanks():
    with pytest.raises(InvalidOptionError) as caught:
        parse_page_ranges("5" + " " * 5000 + "-3", num_pages=9, max_pages=9)

    assert len(caught.value.detail) < 200
