"""Valid and invalid multipart forms."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, strategies as st

from handler.errors import RequestError
from handler.http.forms import parse_form

TYPE = "multipart/form-data; boundary=b"


def form(*parts: tuple[str, bytes]) -> bytes:
    """Return a form as curl writes it."""
    text = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (name.encode(), content)
        for name, content in parts
    )
    return text + b"--b--\r\n"


def test_parts_are_found_by_name_with_any_content():
    content = b"\r\n--c\r\n\r\n\0\xff--b"

    parts = parse_form(form(("file", content), ("pages", b"1-3"), ("note", b"")), TYPE)

    assert parts == {"file": content, "pages": b"1-3", "note": b""}


def test_parts_may_have_file_names_types_and_a_preamble():
    body = (
        b"words for the reader of a letter\r\n--b  \r\n"
        b"content-type: image/png\r\n"
        b'Content-Disposition: form-data; filename="../a.png"; name=file\r\n\r\n'
        b"bytes\r\n--b--"
    )

    assert parse_form(body, TYPE) == {"file": b"bytes"}


def test_a_boundary_may_be_quoted():
    body = form(("a", b"1")).replace(b"--b", b"--b c")

    assert parse_form(body, 'multipart/form-data; boundary="b c"') == {"a": b"1"}


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=\u00e9",
        "multipart/form-data; boundary=other",
    ],
)
def test_a_form_without_its_boundary_is_refused(content_type):
    with pytest.raises(RequestError, match="boundary"):
        parse_form(form(("a", b"1")), content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n",
        form(("a", b"1"))[:-8],
        b"--b\r\n\r\nno head\r\n--b--",
        b"--b\r\nX: y\r\n\r\nno name\r\n--b--",
        form(("", b"1")),
        form(("a", b"1"), ("a", b"2")),
        b"--b\r\nX: " + bytes(10_000) + b"\r\n\r\n1\r\n--b--",
    ],
)
def test_incomplete_form_is_refused(body):
    with pytest.raises(RequestError):
        parse_form(body, TYPE)


def test_a_form_of_a_million_fields_is_refused_at_once():
    body = form(*[(str(number), b"") for number in range(1_000_000)])
    started = time.process_time()

    with pytest.raises(RequestError, match="more than 32 parts"):
        parse_form(body, TYPE)

    assert time.process_time() - started < 1


@pytest.mark.parametrize("num_bytes", [2**20 - 3, 2**20 - 2, 2**20, 2**21 + 7])
def test_parts_are_found_across_the_steps_of_the_search(num_bytes):
    content = b"\n" * num_bytes

    parts = parse_form(form(("file", content), ("pages", b"1")), TYPE)

    assert parts == {"file": content, "pages": b"1"}


@given(st.binary(max_size=200), st.text(max_size=50))
def test_any_bytes_parse_or_raise_a_request_error(body, boundary):
    for content_type in (TYPE, f"multipart/form-data; boundary={boundary}"):
        with contextlib.suppress(RequestError):
            parse_form(body, content_type)
