"""Options are refused exactly where the service refuses them."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
from hypothesis import given, strategies as st

from deploy.documents.options import (
    OPTIONS,
    SECRET,
    check_options,
    count_selected_pages,
    format_attributes,
)
from deploy.errors import ConfigError
from handler.errors import HandlerError
from handler.http.options import PARSERS, SECRET_OPTIONS, parse_options
from handler.http.request import CUSTOM_ATTRIBUTES, parse_request
from handler.preprocess.ranges import parse_page_ranges

NUM_PAGES = 100_000
VALUES: list[object] = [
    *("1", "1-3", "1-3,7,9-", " 2 - 4 , 6 ", "9-", "5,1", "1-3,2-4", 7, "20", "01"),
    *("foo", "", " ", "0", "0-3", "3-1", "-3", "1-2-3", "1,,2", "1;2", "1 2"),
    *("1" * 19, -1, 0, 1.5, True, False, [1], {}, "1\r\nX: y", "1.5"),
    *("4000", "4000.0", "1e3", "nan", "inf", "0.5", 86_400, "86401", -0.5),
    *("auto", "none", "AUTO"),
    *(2, 2.5, 10, 11, "2", "html", "markdown", "<|im_end|>", "a <b|c> d", "\ud800"),
    *("Preis in € ; x", "ä" * 4097, "\n"),
    *("ocr", "ocr_layout", "OCR", "true", "Yes", "no", "maybe", "1", "0"),
]


def is_accepted_by_service(name, value):
    """Return whether the handler accepts an option."""
    try:
        options = parse_options({name: value})
        parse_page_ranges(options.pages, NUM_PAGES, NUM_PAGES)
    except HandlerError:
        return False
    return True


def is_accepted_by_deploy(name, value):
    """Return whether `deploy` accepts an option."""
    try:
        check_options({name: value})
    except ConfigError:
        return False
    return True


def test_options_are_those_of_service_without_secrets():
    assert {*OPTIONS, *SECRET} == set(PARSERS)
    assert SECRET == SECRET_OPTIONS


@pytest.mark.parametrize("where", [None, "list line 2"])
def test_password_is_refused(where):
    with pytest.raises(ConfigError, match="a password would be kept") as caught:
        check_options({"password": "hunter2"}, where)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_refused_exactly_as_by_service(name):
    different = {
        repr(value): is_accepted_by_service(name, value)
        for value in VALUES
        if is_accepted_by_service(name, value) != is_accepted_by_deploy(name, value)
    }

    assert different == {}


@pytest.mark.parametrize("name", sorted({*OPTIONS} - {"pages"}))
def test_equal_values_have_one_spelling(name):
    spellings = defaultdict(set)
    for value in [*VALUES, "4e3", 4000, "-0.0", 0, "0.50", 0.5, 1.0, "TRUE", "NO"]:
        if is_accepted_by_service(name, value):
            checked = check_options({name: value})
            assert is_accepted_by_service(name, checked[name])
            assert PARSERS[name](name, checked[name]) == PARSERS[name](name, value)
            spellings[PARSERS[name](name, value)].add(json.dumps(checked))

    assert {
        parsed: spelling for parsed, spelling in spellings.items() if len(spelling) > 1
    } == {}


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.none() | st.integers(0, 40)),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["", " ", "0", " 00"]),
    st.sampled_from(["", " "]),
)
def test_page_ranges_lose_only_blanks_and_zeros(ranges, before, after):
    plain = [
        f"{first}-" if num is None else f"{first}-{first + num}" if num else f"{first}"
        for first, num in ranges
    ]
    spelling = ",".join(
        "-".join(f"{before}{n}{after}" if n else after for n in part.split("-"))
        for part in plain
    )

    options = check_options({"pages": spelling})

    assert options == {"pages": ",".join(plain)}
    assert parse_page_ranges(spelling, 100, 100) == parse_page_ranges(
        str(options["pages"]), 100, 100
    )


def test_prompt_survives_header_encoding():
    options = check_options({"prompt": "  a;b=c%3B ü\n| ", "paginate": True})

    attributes = format_attributes(options)

    assert attributes.isascii()
    assert attributes.isprintable()
    read = parse_request(
        {"body": b"x"},
        {CUSTOM_ATTRIBUTES.lower(): attributes},
        max_document_bytes=9,
    ).options
    assert (read.prompt, read.paginate) == ("  a;b=c%3B ü\n| ", True)


def test_error_quotes_value_as_written():
    with pytest.raises(ConfigError, match=r"^--pages: pages look like 1-3,7,9- "):
        check_options({"pages": "foo"})
    with pytest.raises(ConfigError, match=r"^--max-output-tokens: max output tokens "):
        check_options({"max_output_tokens": 0})
    with pytest.raises(ConfigError, match=r"^list line 2: max_output_tokens must be"):
        check_options({"max_output_tokens": 0}, "list line 2")


@pytest.mark.parametrize(
    ("pages", "total", "expected"),
    [
        (None, 7, 7),
        (None, None, None),
        ("1-3,7", None, 4),
        ("1-3,2", None, 3),
        ("5-", 7, 3),
        ("5-", None, None),
        ("1-100", 7, 7),
        ("8", 7, 0),
        ("3-9,1-4,2", None, 9),
        ("1-999999999999999999", None, 999999999999999999),
    ],
)
def test_num_chosen_counts_pages_of_ranges(pages, total, expected):
    assert count_selected_pages(pages, total) == expected
