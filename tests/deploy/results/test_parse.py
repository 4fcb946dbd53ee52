"""Failed pages of results, and conversion between formats."""

from __future__ import annotations

import json

import pytest

from deploy.errors import ConfigError
from deploy.results.formats import ACCEPT
from deploy.results.parse import (
    TRANSIENT_CODES,
    convert_result,
    page_errors,
    part_lines,
)
from handler.errors import (
    DeadlineExceededError,
    EngineError,
    HandlerError,
    StorageError,
)
from handler.postprocess import render
from handler.schema import (
    DocumentResult,
    ModelInfo,
    PageContent,
    PageError,
    PageResult,
    Status,
)

WITH_TITLE = PageResult(
    1, Status.SUCCESS, content=PageContent(markdown="# Title\n\nText.")
)
EMPTY = PageResult(2, Status.SUCCESS)
FAILED = PageResult(
    3,
    Status.FAILURE,
    error=PageError("engine_failed", "the engine --> died\n\ntwice ---"),
)
PARTLY_READ = PageResult(
    5,
    Status.FAILURE,
    content=PageContent(
        markdown="The first half.",
        html="<p>The first half.</p>",
        text="The first half.",
    ),
    error=PageError("engine_failed", "the engine died & was gone"),
)
LAST = PageResult(4, Status.SUCCESS, content=PageContent(markdown="Ünd."))


WITH_RULE = PageResult(
    6, Status.SUCCESS, content=PageContent(markdown="a\n\n5" + "-" * 48)
)


def answer(*pages: PageResult, media_type: str, is_paginated: bool = False) -> bytes:
    model = ModelInfo("mini", None, "native")
    document = DocumentResult(
        "id", model, pages, 1.0, len(pages), is_paginated=is_paginated
    )
    return render(document, media_type)


@pytest.mark.parametrize("is_paginated", [False, True], ids=["joined", "paginated"])
@pytest.mark.parametrize(
    "pages",
    [
        (WITH_TITLE,),
        (WITH_TITLE, EMPTY, FAILED, LAST),
        (EMPTY,),
        (WITH_RULE,),
        (WITH_TITLE, WITH_RULE),
    ],
    ids=["one page", "one failed", "no text at all", "a rule", "a rule after a page"],
)
def test_json_gives_same_markdown_as_service(pages, is_paginated):
    as_json = answer(*pages, media_type=ACCEPT["json"], is_paginated=is_paginated)

    converted = convert_result(as_json, ACCEPT["json"], "md")

    expected = answer(*pages, media_type=ACCEPT["md"], is_paginated=is_paginated)
    assert converted == expected


@pytest.mark.parametrize(
    ("media_type", "code"),
    [
        (ACCEPT["json"], "engine_failed"),
        (ACCEPT["md"], "engine_failed"),
        (ACCEPT["html"], "unknown"),
        ("text/plain", "unknown"),
    ],
)
def test_failed_pages_are_found_in_every_format(media_type, code):
    body = answer(WITH_TITLE, EMPTY, FAILED, PARTLY_READ, LAST, media_type=media_type)

    read_errors = page_errors(body, media_type)

    assert [(each["page"], each["code"]) for each in read_errors] == [
        (3, code),
        (5, code),
    ]
    assert all("engine" in each["detail"] for each in read_errors)
    assert (
        page_errors(answer(WITH_TITLE, EMPTY, media_type=media_type), media_type) == []
    )


def test_partly_read_page_keeps_its_html():
    as_json = answer(WITH_TITLE, PARTLY_READ, media_type=ACCEPT["json"])

    converted = convert_result(as_json, ACCEPT["json"], "html")

    assert b"<p>The first half.</p>" in converted
    assert [each["page"] for each in page_errors(converted, ACCEPT["html"])] == [5]


def test_missing_pages_are_summarised():
    missing = {
        "a.md": {2: "engine_failed", 7: "deadline_exceeded", 8: "deadline_exceeded"},
        "whole.md": {},
        "b.md": {1: "engine_failed"},
    }

    assert part_lines(missing) == [
        "in part: a.md lacks page 2 (engine_failed), pages 7-8 (deadline_exceeded)",
        "in part: b.md lacks page 1 (engine_failed)",
    ]


def test_transient_codes_are_engine_and_storage_failures():
    errors: set[type[HandlerError]] = {
        EngineError,
        *EngineError.__subclasses__(),
        StorageError,
    }

    assert {error.code for error in errors - {DeadlineExceededError}} == TRANSIENT_CODES


def test_invalid_document_is_not_converted():
    with pytest.raises(ConfigError, match="not a valid document"):
        convert_result(json.dumps({"pages": [{}]}).encode(), ACCEPT["json"], "md")


def test_pictures_become_data_urls_in_html():
    name = "page-1-figure-1.webp"
    page = PageResult(
        1,
        Status.SUCCESS,
        content=PageContent(html=f'<p>{name}</p><img src="{name}" alt="map">'),
        images={name: "UklGRg=="},
    )
    as_json = answer(page, media_type=ACCEPT["json"])

    converted = convert_result(as_json, ACCEPT["json"], "html").decode()

    assert '<img src="data:image/webp;base64,UklGRg==" alt="map">' in converted
    assert f"<p>{name}</p>" in converted
