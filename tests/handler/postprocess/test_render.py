"""Rendering of a document's result in each media type."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from handler.postprocess import ACCEPTED, end_line, page_line, render
from handler.schema import (
    DocumentResult,
    ModelInfo,
    PageContent,
    PageError,
    PageResult,
    Status,
)
from tests.handler.postprocess.browser import find_dangers, find_tags, visible_text
from tests.handler.postprocess.pages import REPORT, convert, make_block

PICTURE_BASE64 = base64.b64encode(b"RIFF webp").decode()


def make_page(number: int, raw: str = "", **fields: object) -> PageResult:
    content = convert(raw, page_number=number, include_images=True)
    return PageResult(number, Status.SUCCESS, content=content, raw=raw, **fields)  # type: ignore[arg-type]


def make_failed_page(number: int, detail: str) -> PageResult:
    error = PageError("unreadable_document", detail)
    return PageResult(number, Status.FAILURE, error=error)


def make_document(*pages: PageResult) -> DocumentResult:
    model = ModelInfo("datalab-to/chandra", None, "native")
    return DocumentResult("r-1", model, pages, 1.23456, num_pages=len(pages))


PAGE_1 = make_page(1, make_block("<p>Grüße &lt;1&gt;</p>"))
PAGE_3 = make_page(3, make_block("<p>end</p>"))


def test_json_is_compact_utf8():
    body = render(make_document(PAGE_1), "application/json")

    assert json.loads(body) == make_document(PAGE_1).to_json()
    assert "Grüße".encode() in body
    assert b'": ' not in body


def test_markdown_has_all_pages_and_names_failed_ones():
    body = render(
        make_document(PAGE_1, make_failed_page(2, "page 2 ends early"), PAGE_3),
        "text/markdown",
    )

    assert body.decode() == (
        "Grüße <1>\n\n<!-- page 2: unreadable_document: page 2 ends early -->\n\nend\n"
    )


def test_paginated_markdown_has_separators():
    pages = (PAGE_1, make_page(2), make_failed_page(4, "ends early"))
    paginated = replace(make_document(*pages), is_paginated=True)

    body = render(paginated, "text/markdown").decode()

    rule = "-" * 48
    trace = "<!-- page 4: unreadable_document: ends early -->"
    assert body == f"Grüße <1>\n\n1{rule}\n\n\n\n3{rule}\n\n{trace}\n"
    assert paginated.to_json()["markdown"] == (
        f"Grüße <1>\n\n1{rule}\n\n\n\n3{rule}\n\n"
    )


def test_plain_text_has_all_pages_and_names_failed_ones():
    body = render(
        make_document(PAGE_1, make_failed_page(2, "it ends\nearly"), PAGE_3),
        "text/plain",
    )

    assert body.decode() == (
        "Grüße <1>\n\n[page 2 could not be read: it ends early]\n\nend\n"
    )


def test_html_is_a_full_document_with_a_section_per_page():
    html = render(
        make_document(PAGE_1, make_failed_page(2, "it <b>ends</b>"), PAGE_3),
        "text/html",
    ).decode()

    assert html.startswith("<!DOCTYPE html>\n")
    assert '<meta charset="utf-8">' in html
    ids = [attrs["id"] for tag, attrs in find_tags(html) if tag == "section"]
    assert ids == ["page-1", "page-2", "page-3"]
    assert '<p class="page-error">Page 2 could not be read: it &lt;b&gt;ends' in html


@pytest.mark.parametrize(
    "detail", ["--> <script>x</script>", "a -- b", "x--->", "-", ">"]
)
def test_error_detail_cannot_end_its_html_comment(detail):
    body = render(make_document(make_failed_page(1, detail)), "text/markdown").decode()

    assert body.count("-->") == 1
    assert body.endswith(" -->\n")
    assert find_dangers(body) == []


def test_html_contains_pictures_as_data_urls():
    raw = make_block('<img alt="A"/>', "Image") + make_block(
        '<p>&lt;img src="page-1-figure-1.webp"&gt;</p>'
    )
    pictured = make_page(1, raw, images={"page-1-figure-1.webp": PICTURE_BASE64})

    html = render(make_document(pictured), "text/html").decode()

    sources = [attrs["src"] for tag, attrs in find_tags(html) if tag == "img"]
    assert sources == [f"data:image/webp;base64,{PICTURE_BASE64}"]
    assert '<img src="page-1-figure-1.webp">' in visible_text(html)


def test_html_is_sanitised_and_escaped_when_rendered():
    hostile = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'\ud800"
    content = PageContent(
        html=f'<div class="block" data-label="Text">a{hostile}</div>'
        '<img src="page-1-figure-1.webp"><base href="http://evil.example">',
        figures={"page-1-figure-1.webp": (0, 0, 1, 1)},
    )
    error = PageError("engine_failed", hostile)
    result = PageResult(
        1,
        Status.FAILURE,
        content=content,
        images={"page-1-figure-1.webp": hostile},
        error=error,
    )

    html = render(make_document(result), "text/html").decode()

    body = html[html.index("<body>") :]
    assert {tag for tag, _ in find_tags(body)} == {"body", "section", "div", "img", "p"}
    assert all("onerror" not in attrs for _, attrs in find_tags(body))


def test_sanitising_a_page_twice_changes_nothing():
    content = convert(REPORT, include_images=True)

    html = render(
        make_document(PageResult(1, Status.SUCCESS, content=content)), "text/html"
    )

    assert content.html in html.decode()


def test_existing_data_urls_of_pictures_are_kept():
    html = '<img src="data:image/webp;base64,QUJD"><a href="data:text/html,x">x</a>'
    content = PageContent(html=html + '<img src="data:image/svg+xml;base64,QUJD">')

    body = render(
        make_document(PageResult(1, Status.SUCCESS, content=content)), "text/html"
    )

    tags = [
        (tag, attrs) for tag, attrs in find_tags(body.decode()) if tag in ("img", "a")
    ]
    assert [attrs.get("src") for tag, attrs in tags if tag == "img"] == [
        "data:image/webp;base64,QUJD",
        None,
    ]
    assert all("href" not in attrs for _, attrs in tags)


def test_html_policy_forbids_base_urls_and_forms():
    html = render(make_document(PAGE_1), "text/html").decode()

    (policy,) = [
        str(attrs["content"])
        for tag, attrs in find_tags(html)
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_picture_links_stay_relative_in_markdown():
    pictured = make_page(
        1, make_block('<img alt="A"/>', "Image"), images={"page-1-figure-1.webp": "x"}
    )

    assert (
        render(make_document(pictured), "text/markdown")
        == b"![A](page-1-figure-1.webp)\n"
    )


def test_ndjson_has_a_line_per_page_and_an_end_line():
    result = make_document(PAGE_1, make_failed_page(2, "early"))

    lines = render(result, "application/x-ndjson").decode().splitlines()

    assert [json.loads(line)["event"] for line in lines] == ["page", "page", "end"]
    assert json.loads(lines[0]) == {
        "event": "page",
        "request_id": "r-1",
        **PAGE_1.to_json(),
    }
    assert json.loads(lines[2]) == {
        "event": "end",
        "request_id": "r-1",
        "status": "partial_success",
        "model": {"id": "datalab-to/chandra", "revision": None, "engine": "native"},
        "num_pages": 2,
        "warnings": [],
        "processing_time": 1.235,
        "usage": result.usage_json(),
    }


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\x85", "\u2028", "\u2029", "\x0b", "\x1c"]
)
def test_ndjson_line_contains_no_line_separator(end):
    result = PageResult(1, Status.SUCCESS, raw=f"a{end}b")

    line = page_line(result, "r-1").decode()

    assert line.splitlines() == [line[:-1]]
    assert json.loads(line)["raw"] == f"a{end}b"


def test_document_without_pages_is_rendered():
    assert render(make_document(), "text/markdown") == b""
    assert json.loads(end_line(make_document()))["usage"]["pages"] == 0


@pytest.mark.parametrize("media_type", ACCEPTED)
def test_lone_surrogate_becomes_a_question_mark(media_type):
    content = PageContent(html="a\ud800b", markdown="a\ud800b", text="a\ud800b")
    result = make_document(
        PageResult(1, Status.SUCCESS, content=content, raw="a\ud800b")
    )

    assert "a?b" in render(result, media_type).decode("utf-8")


def test_unknown_media_type_raises_value_error():
    with pytest.raises(ValueError, match="image/png"):
        render(make_document(), "image/png")
