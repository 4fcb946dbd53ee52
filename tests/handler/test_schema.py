"""Data classes of the stages, and the JSON that callers get."""

from __future__ import annotations

import json

import pytest

from handler.schema import (
    Block,
    DocumentResult,
    ModelInfo,
    Options,
    Page,
    PageContent,
    PageError,
    PageResult,
    PageWarning,
    Status,
)

MODEL = ModelInfo("datalab-to/chandra", "0" * 40, "generate")


def read(number: int, text: str = "", **fields) -> PageResult:
    content = PageContent(html=f"<p>{text}</p>", markdown=text, text=text)
    return PageResult(number, Status.SUCCESS, content=content, raw=text, **fields)


def failed(number: int) -> PageResult:
    return PageResult(number, Status.FAILURE, error=PageError("internal", "no"))


def document(*pages: PageResult) -> DocumentResult:
    return DocumentResult("id-1", MODEL, pages, 1.23456, num_pages=len(pages))


@pytest.mark.parametrize(
    ("pages", "status"),
    [
        ([read(1), read(2)], "success"),
        ([read(1), failed(2)], "partial_success"),
        ([failed(1), failed(2)], "failure"),
        ([failed(1)], "failure"),
    ],
)
def test_status_of_a_document_follows_its_pages(pages, status):
    assert document(*pages).to_json()["status"] == status


def test_json_of_a_document_has_the_documented_fields():
    counts = {"forwards": 3, "drafted_tokens": 7, "accepted_tokens": 5}
    answer = document(read(1, "one", output_tokens=8, **counts), failed(2)).to_json()

    assert list(answer) == [
        *("request_id", "status", "model", "num_pages", "warnings", "pages"),
        *("markdown", "text", "raw", "processing_time", "usage"),
    ]
    assert answer["num_pages"] == 2
    assert answer["warnings"] == []
    assert answer["model"] == {
        "id": "datalab-to/chandra",
        "revision": "0" * 40,
        "engine": "generate",
    }
    assert answer["processing_time"] == 1.235
    assert answer["usage"] == {
        "pages": 2,
        "output_tokens": 8,
        "forwards": 3,
        "tokens_per_forward": 2.667,
        "draft_acceptance": 0.714,
    }


def test_ratios_are_null_without_forwards_and_drafts():
    usage = document(failed(1)).usage_json()

    assert usage["forwards"] == 0
    assert usage["tokens_per_forward"] is None
    assert usage["draft_acceptance"] is None


def test_json_of_a_page_has_the_documented_fields():
    content = PageContent(
        blocks=(Block("Text", (1, 2, 3, 4), "<p>one</p>"), Block("Form", None, "")),
        html="<p>one</p>",
        markdown="one",
        text="one",
        warnings=(PageWarning("truncated", "too long"),),
    )
    page = PageResult(
        3,
        Status.SUCCESS,
        width=640,
        height=480,
        content=content,
        images={"a.webp": "UklGRg=="},
        raw="<div>",
        finish_reason="length",
        attempts=1,
        output_tokens=8,
    )

    assert page.to_json() == {
        "page": 3,
        "status": "success",
        "width": 640,
        "height": 480,
        "rotation": 0,
        "markdown": "one",
        "html": "<p>one</p>",
        "blocks": [
            {"label": "Text", "bbox": [1, 2, 3, 4], "html": "<p>one</p>"},
            {"label": "Form", "bbox": None, "html": ""},
        ],
        "images": {"a.webp": "UklGRg=="},
        "raw": "<div>",
        "finish_reason": "length",
        "attempts": 1,
        "output_tokens": 8,
        "warnings": [{"code": "truncated", "detail": "too long"}],
        "error": None,
    }


def test_json_of_a_failed_page_has_its_error():
    answer = failed(2).to_json()

    assert answer.keys() == read(1).to_json().keys()
    assert answer["status"] == "failure"
    assert answer["error"] == {"code": "internal", "detail": "no"}


def test_json_of_a_document_has_its_warnings_and_page_count():
    warnings = (PageWarning("xfa_form", "the form is drawn by a script"),)
    subject = DocumentResult(
        "id-1", MODEL, (read(2),), 1.0, num_pages=7, warnings=warnings
    )

    answer = subject.to_json()

    assert answer["num_pages"] == 7
    assert answer["warnings"] == [warnings[0].to_json()]


def test_the_answer_is_plain_json():
    answer = document(read(1, "one"), failed(2)).to_json()

    assert json.loads(json.dumps(answer)) == answer


def test_pages_without_text_add_no_separator():
    joined = document(read(1, "one"), failed(2), read(3, ""), read(4, "four"))

    assert joined.to_json()["markdown"] == "one\n\nfour"
    assert joined.to_json()["text"] == "one\n\nfour"
    assert joined.to_json()["raw"] == "one\n\nfour"


def test_html_of_all_pages_is_joined():
    assert document(read(1, "one"), read(2, "two")).join_pages("html") == (
        "<p>one</p>\n\n<p>two</p>"
    )


def test_every_option_has_a_default():
    assert Options() == Options(
        prompt_type="ocr_layout",
        pages=None,
        max_output_tokens=None,
        deadline_seconds=None,
        include_images=False,
        include_headers_footers=False,
        rotate="auto",
        password=None,
    )


def test_repr_of_a_page_hides_pixels_and_text():
    page = Page(1, 32, 32, 32, 32, b"\xff" * 3072, "Invoice 4711")

    assert "pixels=" not in repr(page)
    assert "Invoice" not in repr(page)
