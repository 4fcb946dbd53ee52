"""Replies and problem details, in a form that TorchServe accepts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from handler.errors import (
    DeadlineExceededError,
    HandlerError,
    OverloadedError,
    UnreadableDocumentError,
)
from handler.http.reply import PROBLEM, Reply, problem_reply, strip_header_value
from handler.schema import PageResult, Status
from tests.handler.test_errors import CLASSES


def test_error_reply_has_a_detail_and_a_code():
    reply = problem_reply(UnreadableDocumentError("page 3 ends early"), "id-1")

    assert reply.status == 422
    assert reply.media_type == PROBLEM == "application/problem+json"
    assert reply.code == "unreadable_document"
    assert json.loads(reply.body) == {
        "type": "about:blank",
        "title": "Unreadable document",
        "status": 422,
        "detail": "page 3 ends early",
        "code": "unreadable_document",
        "request_id": "id-1",
    }


@pytest.mark.parametrize("cls", CLASSES)
def test_only_status_503_has_retry_after(cls):
    reply = problem_reply(cls("no"), "id-1")

    assert ("Retry-After" in reply.headers) == (cls.status == 503)


def test_retry_after_is_a_number_of_seconds():
    assert int(problem_reply(OverloadedError(), "id-1").headers["Retry-After"]) > 0


def test_exceeded_deadline_has_no_retry_after():
    assert problem_reply(DeadlineExceededError(), "id-1").headers == {}


def test_error_reply_keeps_the_page_results():
    pages = (PageResult(1, Status.FAILURE),)

    assert problem_reply(HandlerError(), "id-1", pages).pages == pages


def test_non_ascii_detail_is_sent_as_ascii():
    reply = problem_reply(HandlerError("Größe \ud800 \r\n"), "id-1")

    assert reply.body.isascii()
    assert json.loads(reply.body)["detail"] == "Größe \ud800 \r\n"


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, "OK"),
        (415, "Unsupported Media Type"),
        (499, "Client closed request"),
        (503, "Service Unavailable"),
    ],
)
def test_reason_phrase_is_the_standard_one(status, phrase):
    assert Reply(status, "text/plain", b"").phrase == phrase


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_a_reason_phrase(cls):
    assert problem_reply(cls(), "id-1").phrase.isascii()


def test_replacing_the_body_keeps_the_other_fields():
    reply = Reply(200, "text/plain", b"a", {"X-Y": "z"}, code="internal")

    changed = reply.with_body(b"b")

    assert changed == Reply(200, "text/plain", b"b", {"X-Y": "z"}, code="internal")
    assert reply.body == b"a"


def test_header_value_cannot_inject_a_header():
    assert strip_header_value("a\r\nSet-Cookie: b") == "aSet-Cookie: b"


def test_header_value_keeps_only_ascii():
    assert (
        strip_header_value("page=1; name=Größe\t\x00\x7f\ud800~") == "page=1; name=Gre~"
    )


@given(st.text(st.characters()))
def test_any_text_becomes_a_safe_header_value(value):
    safe = strip_header_value(value)

    assert safe.isascii()
    assert safe.isprintable()
    assert len(safe) <= 1024
