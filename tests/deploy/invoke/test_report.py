"""Tests of the report: an HTML file with each page beside its text."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from deploy.results.report import report_of
from tests.deploy.invoke.answers import DOCUMENT, PAGE


def test_report_of_an_undrawable_page_shows_text_only(chandra, set_answer, tmp_path):
    set_answer(json.dumps(DOCUMENT).encode())
    undrawable = tmp_path / "page.png"
    undrawable.write_bytes(b"\x89PNG\r\n\x1a\n")

    result = chandra("invoke", str(undrawable), "--format", "report")

    assert result.status == 0, result.err
    assert "the report shows the text alone" in result.err
    assert "<h1>page.png</h1>" in result.out


def test_answer_without_page_numbers_is_an_invalid_document(
    chandra, set_answer, picture
):
    set_answer(json.dumps({"pages": [{"markdown": "x"}]}).encode())

    result = chandra("invoke", picture, "--format", "report")

    assert result.status == 6
    assert "did not return a valid document" in result.err


class ParsedPage(HTMLParser):
    """Elements of an HTML page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def find(self, tag, **expected):
        return [
            attributes
            for name, attributes in self.elements
            if name == tag
            and all(attributes.get(k.rstrip("_")) == v for k, v in expected.items())
        ]


def test_report_shows_pages_with_blocks_beside_text(
    chandra, set_answer, picture, tmp_path
):
    set_answer(json.dumps(DOCUMENT).encode())
    path = tmp_path / "report.html"

    result = chandra("invoke", picture, "--format", "report", "-o", str(path))

    page = ParsedPage(path.read_text())
    assert result.status == 0, result.err
    assert page.find("img", alt="page 1")[0]["src"].startswith(
        "data:image/jpeg;base64,"
    )
    (box,) = page.find("a", class_="box")
    assert "left:10.000%;top:10.000%;width:50.000%;height:20.000%" in box["style"]
    assert [block["id"] for block in page.find("div", class_="block")] == [
        "block-1-1",
        "block-1-2",
    ]
    assert "unreadable_document: page 2 ends early" in path.read_text()


def test_report_links_pages_and_marks_unread_ones():
    text = report_of("page.png", DOCUMENT, {})

    page = ParsedPage(text)
    links = [a for tag, a in page.elements if tag == "a" and a["href"][:6] == "#page-"]
    assert [(a["href"], a.get("class")) for a in links] == [
        ("#page-1", None),
        ("#page-2", "wrong"),
    ]
    assert {"page-1", "page-2"} == {s["id"] for s in page.find("section")}
    assert "1 of 2 pages read" in text


def test_report_has_no_scripts_and_no_external_addresses():
    text = report_of("page.png", DOCUMENT, {1: b"jpeg"})

    page = ParsedPage(text)
    addresses = [
        a.get("src") or a.get("href") or ""
        for tag, a in page.elements
        if tag in ("a", "img", "link", "script", "iframe")
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert page.find("script") == []
    assert "data:image/webp;base64,QUJD" in text


def test_report_escapes_scripts_of_the_document():
    hostile = {
        **PAGE,
        "blocks": [{"label": '"><script>', "bbox": [0, 0, 1, 1], "html": "x"}],
        "warnings": [{"code": "<b>", "detail": "<script>"}],
    }

    text = report_of("<script>.pdf", {**DOCUMENT, "pages": [hostile]}, {})

    assert ParsedPage(text).find("script") == []
    assert "default-src 'none'" in text


def test_a_report_of_some_pages_says_how_many_there_are():
    warnings = [{"code": "portfolio", "detail": "it holds <3> other files"}]
    document = {**DOCUMENT, "pages": [PAGE], "num_pages": 1200, "warnings": warnings}

    report = report_of("a.pdf", document, {})

    assert "1 page, document of 1,200" in report
    assert "portfolio: it holds &lt;3&gt; other files" in report


def test_document_warnings_are_printed_with_the_answer(chandra, set_answer, picture):
    warnings = [{"code": "xfa_form", "detail": "the form is drawn by a script"}]
    set_answer(json.dumps({**DOCUMENT, "warnings": warnings}).encode())

    result = chandra("invoke", picture, "--format", "json")

    assert "the form is drawn by a script (xfa_form)" in result.err
