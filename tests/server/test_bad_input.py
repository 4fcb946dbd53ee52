"""Invalid documents and requests, which are refused with a reason.

After each test the same worker still answers: there is no 5xx, hang or restart.
"""

from __future__ import annotations

import base64
import json

import pytest

from tests import documents
from tests.waiting import until

PAGE = documents.as_png(documents.text_page(["Still here"]))
PNG, PDF = "image/png", "application/pdf"


@pytest.fixture(autouse=True)
def _check_that_the_worker_survived(client):
    worker = client.server.query_worker_pid()
    yield
    assert client.post(PAGE, PNG).status_code == 200
    assert client.server.query_worker_pid() == worker


def check_refusal(answer, status, code):
    """Check that an answer is the expected problem, and return its detail."""
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    return answer.json()["detail"]


def test_one_bad_page_does_not_affect_the_other_pages(client):
    answer = client.post(documents.pdf_with_one_bad_page(), PDF)

    assert answer.status_code == 200
    document = answer.json()
    assert document["status"] == "partial_success"
    assert answer.headers["x-chandra-status"] == "partial_success"
    # SageMaker forwards only this one of our headers.
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == (
        f"request_id={document['request_id']};status=partial_success"
    )
    assert [page["status"] for page in document["pages"]] == [
        "success",
        "failure",
        "success",
    ]
    assert document["pages"][1]["error"]["code"] == "unreadable_document"


def test_bad_page_becomes_a_comment_in_markdown(client):
    answer = client.post(documents.pdf_with_one_bad_page(), PDF, accept="text/markdown")

    assert answer.status_code == 200
    assert "<!-- page 2: unreadable_document" in answer.text


def test_request_for_only_a_bad_page_is_refused(client):
    answer = client.post(documents.pdf_with_one_bad_page(), PDF, pages="2")

    check_refusal(answer, 422, "unreadable_document")


def test_ndjson_without_readable_pages_is_an_http_error(client):
    answer = client.post(
        documents.pdf_with_one_bad_page(),
        PDF,
        accept="application/x-ndjson",
        pages="2",
    )

    check_refusal(answer, 422, "unreadable_document")


def test_encrypted_pdf_is_refused_with_password_required(client):
    locked = documents.pdf([["Secret"]], password="sesame")

    assert "password" in check_refusal(
        client.post(locked, PDF), 422, "password_required"
    )


@pytest.mark.parametrize(
    "document",
    [documents.empty_pdf(), documents.truncated_pdf(), b"%PDF-1.7 and nothing else"],
    ids=["empty", "truncated", "header only"],
)
def test_a_pdf_without_readable_pages_is_refused(client, document):
    check_refusal(client.post(document, PDF), 422, "unreadable_document")


def test_png_of_huge_dimensions_is_refused_by_its_header(client):
    answer = client.post(documents.huge_png_header(), PNG)

    detail = check_refusal(answer, 413, "document_too_large")
    assert "pixels" in detail


def test_png_decompression_bomb_is_refused(client):
    check_refusal(client.post(documents.png_bomb(), PNG), 413, "document_too_large")


def test_png_that_inflates_beyond_its_header_does_no_harm(client):
    answer = client.post(documents.png_idat_bomb(), PNG)

    assert answer.status_code in (200, 422)


def test_gif_with_a_frame_beyond_its_canvas_does_no_harm(client):
    answer = client.post(documents.gif_with_a_frame_larger_than_itself(), "image/gif")

    assert answer.status_code in (200, 413, 422)


@pytest.mark.parametrize("length", [0, 1, 8, 33, 60])
def test_a_png_without_a_row_of_pixels_is_refused(client, length):
    answer = client.post(PAGE[:length], PNG)

    assert 400 <= answer.status_code < 500


def test_truncated_png_is_read_with_a_warning(client):
    answer = client.post(PAGE[: len(PAGE) // 2], PNG)

    assert answer.status_code == 200
    [page] = answer.json()["pages"]
    assert "truncated_image" in [warning["code"] for warning in page["warnings"]]


def test_more_bytes_than_the_limit_are_refused_with_the_limit(client):
    answer = client.post(b"\x89PNG\r\n\x1a\n" + bytes(105 * 1024 * 1024), PNG)

    assert "104,857,600" in check_refusal(answer, 413, "document_too_large")


def test_more_pages_than_the_limit_are_refused_with_the_limit(client):
    answer = client.post(documents.tiff_of_many_pages(1001), "image/tiff")

    assert "at most 1000" in check_refusal(answer, 413, "document_too_large")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (PAGE, "image/jpeg"),
        (PAGE, PDF),
        (b"%PDF-1.7", PNG),
        (b"hello", "text/plain"),
        (b"hello", "application/zip"),
        (b"PK\x03\x04 a zip file", "application/octet-stream"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
    ],
)
def test_body_that_contradicts_its_content_type_is_refused(
    client, content, content_type
):
    check_refusal(client.post(content, content_type), 415, "unsupported_media_type")


def test_form_without_a_file_gets_a_hint_how_to_send_one(client):
    answer = client.post(b"a=b", "application/x-www-form-urlencoded")

    assert "--data-binary" in check_refusal(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"document": 5}',
        b'{"document": "not base64!"}',
        b'{"document": "aGk=", "image": "aGk="}',
        b"[" * 100_000,
    ],
)
def test_json_without_a_document_is_refused(client, body):
    check_refusal(client.post(body, "application/json"), 400, "bad_request")


def test_an_unknown_option_is_refused_with_the_nearest_known_one(client):
    answer = client.post(PAGE, PNG, promt_type="ocr")

    assert "prompt_type" in check_refusal(answer, 422, "invalid_option")


def test_an_unknown_option_in_custom_attributes_is_refused_too(client):
    answer = client.post(
        PAGE, PNG, headers={"X-Amzn-SageMaker-Custom-Attributes": "page=1"}
    )

    assert "pages" in check_refusal(answer, 422, "invalid_option")


@pytest.mark.parametrize(
    "option",
    [
        {"prompt_type": "ocr_lay"},
        {"pages": "0"},
        {"pages": "3-1"},
        {"pages": "2"},
        {"pages": "1-99999999999999"},
        {"pages": "first"},
        {"max_output_tokens": "0"},
        {"max_output_tokens": "1e999"},
        {"deadline_seconds": "-1"},
        {"deadline_seconds": "nan"},
        {"include_images": "perhaps"},
    ],
    ids=str,
)
def test_invalid_option_value_is_refused(client, option):
    check_refusal(client.post(PAGE, PNG, **option), 422, "invalid_option")


def test_unsupported_accept_header_is_refused_with_alternatives(client):
    answer = client.post(PAGE, PNG, accept="image/png")

    assert "text/markdown" in check_refusal(answer, 406, "not_acceptable")


def test_client_text_cannot_inject_response_headers(client):
    body = {
        "document": base64.b64encode(PAGE).decode(),
        "a\r\nSet-Cookie: x=1\u2028": 1,
    }

    answer = client.post_json(body)

    check_refusal(answer, 422, "invalid_option")
    assert "set-cookie" not in answer.headers
    attributes = {"X-Amzn-SageMaker-Custom-Attributes": "größe=1".encode("latin-1")}
    assert client.post(PAGE, PNG, headers=attributes).status_code == 422


def test_document_text_is_never_logged(client):
    document = documents.pdf([["Confidential"]])
    raw = client.post(document, PDF).json()["raw"]
    check_refusal(
        client.post(document, PDF, pages="Confidential"), 422, "invalid_option"
    )

    until(lambda: len(client.lines.find_events("request")) >= 2)
    log = "\n".join(client.lines)
    assert '"invalid_option"' in log
    for secret in (raw[:20], json.dumps(raw)[1:21], "Confidential"):
        assert secret not in log
