"""Content negotiation by the Accept header."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, strategies as st

from handler.errors import NotAcceptableError
from handler.postprocess import ACCEPTED, choose_media_type

JSON, MARKDOWN, HTML, PLAIN, NDJSON = ACCEPTED


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        (" , ", JSON),
        ("*/*", JSON),
        ("*", JSON),
        ("application/*", JSON),
        ("text/*", MARKDOWN),
        ("text/html", HTML),
        ("TEXT/Plain; charset=utf-8", PLAIN),
        ("text/x-markdown", MARKDOWN),
        ("text/markdown;variant=GFM", MARKDOWN),
        ("application/ndjson", NDJSON),
        ("application/jsonlines", NDJSON),
        ("application/json-lines", NDJSON),
        ("application/x-ndjson, */*;q=0.1", NDJSON),
        ("text/plain;q=0.5, text/html;q=0.9", HTML),
        ("text/html;q=0.5, text/plain;Q=0.50001", PLAIN),
        ("text/plain, text/html", PLAIN),
        ("text/html, text/plain", HTML),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
        ("application/json;q=0, */*", MARKDOWN),
        ("text/*, text/markdown;q=0", HTML),
        ("text/*;q=0.3, text/html;q=0.7, */*;q=0.5", HTML),
        ("image/png, text/plain;q=0.1", PLAIN),
        ("image/png, */*;q=0.1", JSON),
        ("text/html;q=banana", HTML),
        ("text/html;q=", HTML),
        ("text/html;q=7, text/plain", HTML),
        ("nonsense, text/plain", PLAIN),
        ("nonsense", JSON),
        (";;;q=1", JSON),
    ],
)
def test_preferred_media_type_is_chosen(accept, chosen):
    assert choose_media_type(accept) == chosen


@pytest.mark.parametrize(
    "accept",
    ["image/png", "application/xml", "application/json;q=0", "*/*;q=0.0", "a/b"],
)
def test_unacceptable_header_raises_error_with_all_types(accept):
    with pytest.raises(NotAcceptableError) as caught:
        choose_media_type(accept)

    assert caught.value.status == 406
    assert [name for name in ACCEPTED if name not in caught.value.detail] == []


@given(st.text("aq*/;,=.019 \t\"'\\-+jsontexhml", max_size=60) | st.text(max_size=30))
def test_arbitrary_header_gives_a_type_or_not_acceptable(accept):
    with contextlib.suppress(NotAcceptableError):
        assert choose_media_type(accept) in ACCEPTED


def test_long_header_is_parsed_to_its_end():
    assert choose_media_type("image/png, " * 50_000 + "text/html;q=1") == HTML
