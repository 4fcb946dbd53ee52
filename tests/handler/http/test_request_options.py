"""Options in the body, the query string and Custom-Attributes of a request."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from handler.errors import InvalidOptionError
from handler.schema import Options
from tests.handler.http.requests import (
    ATTRIBUTES,
    ENCODED,
    FORM,
    JSON,
    PNG,
    json_request,
    request,
    with_attributes,
)

# Sources of options


def test_options_come_in_custom_attributes():
    options = with_attributes(" pages = 1-3 ; prompt_type=ocr;; ").options

    assert options == Options(pages="1-3", prompt_type="ocr")


def test_options_come_in_the_query():
    options = with_attributes("", pages="2", include_images="true").options

    assert options == Options(pages="2", include_images=True)


def test_options_come_in_a_json_body():
    options = json_request({"image": ENCODED, "pages": "7", "max_output_tokens": 9})

    assert options.options == Options(pages="7", max_output_tokens=9)


def test_body_overrides_attributes_which_override_the_query():
    row = {
        "body": b'{"image": "AAAA", "pages": "1"}',
        "pages": b"2",
        "prompt_type": b"ocr_layout",
        "max_output_tokens": b"5",
    }
    attributes = {ATTRIBUTES: "pages=3;prompt_type=ocr"}

    options = request(row, JSON | attributes).options

    assert options == Options(pages="1", prompt_type="ocr", max_output_tokens=5)


def test_form_overrides_custom_attributes():
    row = {"file": PNG, "pages": b"1"}

    options = request(row, FORM | {ATTRIBUTES: "pages=2;prompt_type=ocr"}).options

    assert options == Options(pages="1", prompt_type="ocr")


@pytest.mark.parametrize(
    ("row", "headers"), [({"body": PNG}, {}), ({"file": PNG}, FORM)]
)
def test_model_name_is_not_an_option(row, headers):
    assert request({"model_name": b"chandra", **row}, headers).options == Options()


def test_attribute_without_a_value_is_refused_with_an_example():
    with pytest.raises(InvalidOptionError, match=r'"trace" .* write them as pages=1-3'):
        with_attributes("pages=1;trace")


PROMPT = "Betrag; Währung=€?\n100 %3B"


def test_option_means_the_same_in_every_place():
    given = {
        "temperature": "0.7",
        "max_attempts": "2",
        "paginate": "true",
        "tables": "html",
        "inline_images": "true",
    }
    expected = Options(
        prompt=PROMPT,
        temperature=0.7,
        max_attempts=2,
        paginate=True,
        tables="html",
        inline_images=True,
    )
    header = ";".join(f"{name}={value}" for name, value in given.items())
    parts = {**given, "prompt": PROMPT}
    encoded = {name: bytearray(value.encode()) for name, value in parts.items()}

    assert json_request({"image": ENCODED, **parts}).options == expected
    assert request({"body": PNG, **encoded}).options == expected
    assert request({"file": PNG, **encoded}, FORM).options == expected
    assert with_attributes(f"{header};prompt={quote(PROMPT)}").options == expected


def test_semicolon_in_a_prompt_is_refused_with_a_hint():
    with pytest.raises(InvalidOptionError, match="a prompt as %3B") as caught:
        with_attributes("prompt=total; currency")

    assert "currency" not in caught.value.detail


@pytest.mark.parametrize(
    "attributes",
    [
        "prompt = find it; the iban",
        "prompt=find it; the iban = DE00",
        "pages=1;Prompt=find it;the iban",
        "password =a;the iban",
    ],
)
def test_error_does_not_repeat_a_prompt_or_password(attributes):
    with pytest.raises(InvalidOptionError) as caught:
        with_attributes(attributes)

    assert "iban" not in caught.value.detail


# Unknown options


UNKNOWN = 'unknown option "page"; did you mean pages'


def test_unknown_option_in_json_suggests_the_nearest():
    with pytest.raises(InvalidOptionError, match=UNKNOWN) as caught:
        json_request({"image": ENCODED, "page": 1})

    assert caught.value.status == 422


def test_unknown_option_in_attributes_suggests_the_nearest():
    with pytest.raises(InvalidOptionError, match=UNKNOWN):
        with_attributes("page=1")


def test_unknown_option_in_the_query_suggests_the_nearest():
    with pytest.raises(InvalidOptionError, match=UNKNOWN):
        with_attributes("", page="1")


def test_unknown_option_in_a_form_suggests_the_nearest():
    with pytest.raises(InvalidOptionError, match=UNKNOWN):
        request({"file": PNG, "page": b"1"}, FORM)


@pytest.mark.parametrize(
    ("row", "headers"),
    [({"body": PNG, "pages": b"\xff"}, {}), ({"file": PNG, "pages": b"\xff"}, FORM)],
)
def test_a_parameter_that_is_not_text_is_refused_by_name(row, headers):
    with pytest.raises(InvalidOptionError, match='"pages" is not text'):
        request(row, headers)


def test_a_number_too_large_for_json_is_refused_by_name():
    body = b'{"image": "AAAA", "max_output_tokens": 1e400}'

    with pytest.raises(InvalidOptionError, match="max_output_tokens must be a number"):
        request({"body": body}, JSON)


# Limits for options

LONG = "x" * 8193


@pytest.mark.parametrize("name", ["pages", "prompt_type", "deadline_seconds", "other"])
def test_too_long_option_is_refused_in_every_place(name):
    for send in (
        lambda: json_request({"image": ENCODED, name: LONG}),
        lambda: request({"body": {"image": ENCODED, name: LONG}}, JSON),
        lambda: request({"body": PNG, name: LONG.encode()}),
        lambda: request({"file": PNG, name: LONG.encode()}, FORM),
        lambda: with_attributes(f"{name}={LONG}"),
    ):
        with pytest.raises(InvalidOptionError, match=f'"?{name}"?') as caught:
            send()

        assert len(caught.value.detail) < 300


def test_a_long_part_of_a_form_is_refused_by_name():
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = part % (b"pages", b"1," * 5000) + part % (b"file", PNG) + b"--x--"

    with pytest.raises(InvalidOptionError, match='"pages" has more than 8,192 bytes'):
        request({"body": body}, FORM)
