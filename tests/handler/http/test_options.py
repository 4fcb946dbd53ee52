"""Parsing of option values, given as JSON or text."""

from __future__ import annotations

import dataclasses

import pytest

from handler.errors import InvalidOptionError
from handler.http.options import parse_options
from handler.schema import Options


def test_unknown_option_without_similar_name_lists_all_options():
    known = ", ".join(field.name for field in dataclasses.fields(Options))

    with pytest.raises(InvalidOptionError) as caught:
        parse_options({"zzzz": 1})

    assert caught.value.detail == f'unknown option "zzzz"; known: {known}'


def test_an_unknown_option_is_refused_even_without_a_value():
    with pytest.raises(InvalidOptionError, match="page"):
        parse_options({"page": None})


def test_a_long_or_hostile_name_is_repeated_short_and_escaped():
    with pytest.raises(InvalidOptionError) as caught:
        parse_options({"\r\n\x00ä" * 1000: 1})

    assert len(caught.value.detail) < 600
    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()


def test_every_option_can_be_given():
    given_options = {field.name for field in dataclasses.fields(Options)}
    samples = {
        "prompt_type": "ocr",
        "pages": "1",
        "max_output_tokens": 1,
        "deadline_seconds": 1,
        "include_images": True,
        "include_headers_footers": True,
        "prompt": "What is the total?",
        "temperature": 0.5,
        "max_attempts": 2,
        "paginate": True,
        "tables": "html",
        "inline_images": True,
        "rotate": "none",
        "password": "secret",
    }

    changed = parse_options(samples)

    assert samples.keys() == given_options
    assert all(
        getattr(changed, name) != getattr(Options(), name) for name in given_options
    )


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Options)])
def test_an_option_without_a_value_has_its_default(name):
    assert parse_options({name: None}) == Options()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("prompt_type", "ocr", "ocr"),
        ("prompt_type", "ocr_layout", "ocr_layout"),
        ("pages", "1-3,7", "1-3,7"),
        ("pages", 7, "7"),
        ("max_output_tokens", 1, 1),
        ("max_output_tokens", "4096", 4096),
        ("max_output_tokens", 4096.0, 4096),
        ("deadline_seconds", 50, 50.0),
        ("deadline_seconds", "0.5", 0.5),
        ("deadline_seconds", 86_400, 86_400.0),
        ("include_images", True, True),
        ("include_images", "True", True),
        ("include_images", "1", True),
        ("include_images", "yes", True),
        ("include_images", False, False),
        ("include_images", "false", False),
        ("include_images", "0", False),
        ("include_headers_footers", "NO", False),
        ("prompt", "Wie hoch ist\nder Betrag?", "Wie hoch ist\nder Betrag?"),
        ("prompt", "<p>a | b <i> c|d", "<p>a | b <i> c|d"),
        ("temperature", 0, 0.0),
        ("temperature", "0.7", 0.7),
        ("temperature", 2, 2.0),
        ("max_attempts", 1, 1),
        ("max_attempts", "10", 10),
        ("paginate", "yes", True),
        ("tables", "html", "html"),
        ("inline_images", "false", False),
    ],
)
def test_value_is_converted_to_the_type_of_its_option(name, value, expected):
    parsed = getattr(parse_options({name: value}), name)

    assert parsed == expected
    assert type(parsed) is type(expected)


NONSENSE: dict[str, list[object]] = {
    "prompt_type": ["OCR", "", 1, True, [], {}, "layout"],
    "pages": [1.5, True, [1, 2], {}],
    "max_output_tokens": [
        *(0, -1, 1.5, "x", "", True, [], {}, "1.5", 10**400),
        *("nan", "inf", "1e400", float("nan"), float("inf")),
    ],
    "deadline_seconds": [
        *(0, -1, "-1", 86_401, "soon", False, [], 10**400),
        *("nan", "inf", float("nan"), float("inf"), float("-inf")),
    ],
    "include_images": ["maybe", "", 1, 0, 1.0, [], {}],
    "include_headers_footers": ["maybe", 2],
    "prompt": [1, True, [], {}, "", " \n", "a<|im_end|>b", "<|image_pad|>", "\ud800"],
    "temperature": [-0.1, 2.1, "hot", "", True, [], {}, "nan", "inf", "-1"],
    "max_attempts": [0, 11, -1, 1.5, "x", "", True, [], {}, 10**400, "inf"],
    "paginate": ["maybe", 1],
    "tables": ["HTML", "", "pipes", 1, True, []],
    "inline_images": ["maybe", 1],
    "rotate": ["AUTO", "", "90", 90, True, False, [], {}],
    "password": [1, 1.5, True, [], {}],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in NONSENSE.items() for value in values],
)
def test_invalid_value_is_refused_with_the_option_name(name, value):
    with pytest.raises(InvalidOptionError, match=f"^{name} must be "):
        parse_options({name: value})


def test_misspelt_prompt_type_names_the_nearest_one():
    with pytest.raises(InvalidOptionError, match="did you mean ocr_layout"):
        parse_options({"prompt_type": "ocr-layout"})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Options)])
def test_text_above_the_limit_is_refused_by_name(name):
    with pytest.raises(InvalidOptionError, match=f'"{name}" has more than 8,192 bytes'):
        parse_options({name: "1" * 8193})


def test_long_name_is_not_compared_with_option_names():
    with pytest.raises(InvalidOptionError, match="; known: "):
        parse_options({"pages" * 20: 1})
