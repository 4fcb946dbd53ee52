"""Addresses of objects in S3, and the allowed buckets."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, strategies as st

from handler.errors import ModelLoadError, RequestError
from handler.storage.addresses import Address, Buckets, parse_address


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("s3://docs/a.pdf", Address("docs", "a.pdf")),
        ("s3://my.docs-1/2026/a b.pdf", Address("my.docs-1", "2026/a b.pdf")),
        ("s3://docs/a%2Fb?x=1#y.pdf", Address("docs", "a%2Fb?x=1#y.pdf")),
        ("s3://docs//a//b", Address("docs", "/a//b")),
        ("s3://docs/Übersicht.pdf", Address("docs", "Übersicht.pdf")),
        ("s3://docs/" + 1024 * "k", Address("docs", 1024 * "k")),
    ],
)
def test_address_has_a_bucket_and_a_literal_key(uri, address):
    assert parse_address(uri) == address
    assert str(address) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3://",
        "s3://docs",
        "s3://docs/",
        "s3:///a.pdf",
        "S3://docs/a.pdf",
        "https://docs/a.pdf",
        "file:///etc/passwd",
        "s3:/docs/a.pdf",
        " s3://docs/a.pdf",
        "s3://Docs/a.pdf",
        "s3://do_cs/a.pdf",
        "s3://do..cs/a.pdf",
        "s3://d/a.pdf",
        "s3://docs@evil.example/a.pdf",
        "s3://docs:80/a.pdf",
        "s3://docs?x/a.pdf",
        "s3://döcs/a.pdf",
        "s3://../a.pdf",
        "s3://arn:aws:s3:us-east-1:1:accesspoint/x/a.pdf",
        "s3://docs/a\nHost: evil",
        "s3://docs/a\0b",
        "s3://docs/\ud800",
        "s3://docs/" + 1025 * "k",
        "s3://docs/" + 513 * "ü",
        "s3://" + 64 * "b" + "/a.pdf",
    ],
)
def test_invalid_address_is_a_bad_request_with_an_example(uri):
    with pytest.raises(RequestError, match=r"is named s3://bucket/key, not ") as caught:
        parse_address(uri)

    assert len(str(caught.value)) < 900


@given(st.text())
def test_any_text_parses_or_is_a_bad_request(text):
    for uri in (text, f"s3://{text}", f"s3://docs/{text}"):
        with contextlib.suppress(RequestError):
            assert str(parse_address(uri)) == uri


@pytest.mark.parametrize("text", [None, "", " ", ",", " , "])
def test_no_address_is_allowed_without_a_bucket(text):
    assert not Buckets(text)
    assert Address("docs", "a") not in Buckets(text)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("docs", "s3://docs/a.pdf"),
        ("docs", "s3://docs/deep/down/a.pdf"),
        ("docs/", "s3://docs/a.pdf"),
        ("s3://docs/in", "s3://docs/in/a.pdf"),
        ("docs/in", "s3://docs/in/a.pdf"),
        ("docs/in/", "s3://docs/in/a.pdf"),
        ("other, docs/in , third", "s3://docs/in/a.pdf"),
        ("docs/in/2026", "s3://docs/in/2026/a.pdf"),
        ("docs/in", "s3://docs/in/..a/b..pdf"),
    ],
)
def test_object_in_an_allowed_place_may_be_read(text, uri):
    assert parse_address(uri) in Buckets(text)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://other/in/a.pdf",
        "s3://docs2/in/a.pdf",
        "s3://docs/a.pdf",
        "s3://docs/in",
        "s3://docs/in.pdf",
        "s3://docs/inside/a.pdf",
        "s3://docs/IN/a.pdf",
        "s3://docs//in/a.pdf",
        "s3://docs/in/../secret.pdf",
        "s3://docs/in/./a.pdf",
        "s3://docs/in/a/../../../other/b.pdf",
        "s3://docs/../in/a.pdf",
        "s3://docs/in/..",
        "s3://docs/%69n/a.pdf",
    ],
)
def test_object_elsewhere_may_not_be_read(uri):
    assert parse_address(uri) not in Buckets("docs/in")


def test_dots_in_a_key_are_refused_in_a_whole_bucket():
    assert parse_address("s3://docs/../other/a.pdf") not in Buckets("docs")


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "docs*",
        "Docs",
        "docs/../other",
        "docs/a//b",
        "docs/./a",
        "d",
        "s3://",
        "a b",
    ],
)
def test_invalid_bucket_setting_stops_the_load(text):
    with pytest.raises(ModelLoadError, match="bucket or bucket/prefix") as caught:
        Buckets(f"docs, {text}")

    assert repr(text) in str(caught.value)
