"""What becomes of an answer: its facts, and the formats that people want."""

from __future__ import annotations

import json

import pytest

from deploy.documents.results import ACCEPT, MAY_PASS, in_format
from deploy.errors import ConfigError
from handler.errors import (
    DeadlineExceededError,
    EngineError,
    HandlerError,
    StorageError,
)
from handler.postprocess import render
from handler.schema import (
    Document,
    ModelInfo,
    PageContent,
    PageError,
    PageResult,
    Status,
)

TITLE = PageResult(1, Status.SUCCESS, content=PageContent(markdown="# Title\n\nText."))
EMPTY = PageResult(2, Status.SUCCESS)
FAILED = PageResult(
    3,
    Status.FAILURE,
    error=PageError("engine_failed", "the engine --> died\n\ntwice ---"),
)
LAST = PageResult(4, Status.SUCCESS, content=PageContent(markdown="Ünd."))


def answer(*pages: PageResult, media_type: str) -> bytes:
    model = ModelInfo("mini", None, "native")
    return render(Document("id", model, pages, 1.0), media_type)


@pytest.mark.parametrize(
    "pages",
    [(TITLE,), (TITLE, EMPTY, FAILED, LAST), (EMPTY,)],
    ids=["one page", "a page that failed among others", "no text at all"],
)
def test_json_becomes_the_very_markdown_that_the_service_writes(pages):
    as_json = answer(*pages, media_type=ACCEPT["json"])

    made = in_format(as_json, ACCEPT["json"], "md")

    assert made == answer(*pages, media_type=ACCEPT["md"])


def test_what_may_pass_is_every_failure_of_the_engine_and_of_storage():
    errors: set[type[HandlerError]] = {
        EngineError,
        *EngineError.__subclasses__(),
        StorageError,
    }

    assert {error.code for error in errors - {DeadlineExceededError}} == MAY_PASS


def test_what_is_no_document_of_ours_is_no_markdown():
    with pytest.raises(ConfigError, match="no document of ours"):
        in_format(json.dumps({"pages": [{}]}).encode(), ACCEPT["json"], "md")
