"""Formats of documents, and of the answers for each Accept header."""

from __future__ import annotations

import base64
import gzip
import json
from urllib.parse import quote

import httpx
import pytest

from handler.postprocess.negotiate import ACCEPTED
from server.environment import read_environment
from tests import documents

TEXT = documents.text_page(["Rain in May", "41 mm at Kirkwall"])
THREE_PAGES = [["Page one"], ["Page two"], ["Page three"]]

BODIES = {
    "image/png": documents.as_png(TEXT),
    "image/jpeg": documents.as_jpeg(TEXT),
    "image/webp": documents.as_webp(TEXT),
    "image/bmp": documents.as_bmp(TEXT),
    "image/gif": documents.as_gif(TEXT),
    "image/tiff": documents.as_tiff(TEXT),
    "image/heic": documents.as_heic(TEXT),
    "application/pdf": documents.pdf(THREE_PAGES[:1]),
}


@pytest.mark.parametrize("media_type", BODIES)
def test_one_page_of_every_media_type_is_read_with_success(client, media_type):
    answer = client.post(BODIES[media_type], media_type)

    assert answer.status_code == 200
    document = answer.json()
    assert document["status"] == "success"
    assert [page["page"] for page in document["pages"]] == [1]
    assert document["pages"][0]["output_tokens"] > 0


@pytest.mark.parametrize("media_type", BODIES)
def test_type_of_an_undeclared_body_is_detected(client, media_type):
    declared = client.post(BODIES[media_type], media_type).json()["raw"]

    assert client.post(BODIES[media_type]).json()["raw"] == declared
    untyped = client.post(BODIES[media_type], "application/octet-stream")
    assert untyped.json()["raw"] == declared


def test_lossless_formats_of_one_image_are_read_alike(client):
    lossless = ("image/png", "image/bmp", "image/tiff")

    answers = {client.post(BODIES[name], name).json()["raw"] for name in lossless}

    assert len(answers) == 1


def test_invocations_and_predictions_answer_alike(client):
    from_predictions = client.post(
        BODIES["image/png"], "image/png", path="/predictions/chandra"
    )
    from_invocations = client.post(
        BODIES["image/png"], "image/png", path="/invocations"
    )

    assert from_predictions.status_code == from_invocations.status_code == 200
    assert from_invocations.json()["raw"] == from_predictions.json()["raw"]


def test_every_frame_of_a_tiff_is_a_page(client):
    frames = [documents.text_page([f"Frame {n}"]) for n in range(3)]

    answer = client.post(documents.as_tiff(*frames), "image/tiff").json()

    assert [page["page"] for page in answer["pages"]] == [1, 2, 3]
    assert answer["usage"]["pages"] == 3


def test_pages_of_a_pdf_are_chosen_by_range(client):
    answer = client.post(
        documents.pdf(THREE_PAGES), "application/pdf", pages="3,1"
    ).json()

    assert [page["page"] for page in answer["pages"]] == [1, 3]


def test_the_size_of_a_page_is_that_of_the_upright_image(client):
    rotated_image = documents.oriented_jpeg(documents.text_page(["Up"], (320, 480)), 6)

    page = client.post(rotated_image, "image/jpeg").json()["pages"][0]

    assert (page["width"], page["height"]) == (320, 480)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/markdown", "text/markdown"),
        ("text/html", "text/html"),
        ("text/plain", "text/plain"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/html;q=0.4, text/markdown;q=0.9", "text/markdown"),
    ],
)
def test_answer_has_the_accepted_type(client, accept, content_type):
    answer = client.post(documents.pdf(THREE_PAGES), "application/pdf", accept=accept)

    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == content_type


def test_markdown_html_and_text_match_the_json_answer(client):
    document = documents.pdf(THREE_PAGES)
    json_answer = client.post(document, "application/pdf").json()

    markdown = client.post(document, "application/pdf", accept="text/markdown").text
    html = client.post(document, "application/pdf", accept="text/html").text
    text = client.post(document, "application/pdf", accept="text/plain").text

    assert markdown.strip() == json_answer["markdown"].strip()
    assert text.strip() == json_answer["text"].strip()
    assert html.startswith("<!DOCTYPE html>")
    assert html.count("<section") == 3


def test_ndjson_has_one_line_per_page_and_an_end_line(client):
    document = documents.pdf(THREE_PAGES)
    json_answer = client.post(document, "application/pdf").json()

    answer = client.post(document, "application/pdf", accept="application/x-ndjson")

    *pages, end = map(json.loads, answer.text.splitlines())
    assert {page["page"]: page["raw"] for page in pages} == {
        page["page"]: page["raw"] for page in json_answer["pages"]
    }
    assert (end["event"], end["status"]) == ("end", "success")
    assert end["usage"] == json_answer["usage"]


@pytest.mark.slow
@pytest.mark.parametrize("use", [{"SERVE_USE": "async"}, {"SAGEMAKER_BATCH": "true"}])
def test_answers_to_be_stored_have_a_content_length(start_server, use):
    variables = read_environment(use, 4 * 1024**3).handler

    with start_server(**variables, CHANDRA_MAX_OUTPUT_TOKENS="48") as client:
        answers = {
            accept: client.post(
                documents.pdf(THREE_PAGES), "application/pdf", accept=accept
            )
            for accept in ACCEPTED
        }
        broken = client.post(b"%PDF-1.7", accept="application/x-ndjson")

    for answer in (*answers.values(), broken):
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert "transfer-encoding" not in answer.headers
    assert {answer.status_code for answer in answers.values()} == {200}
    *pages, end = map(json.loads, answers["application/x-ndjson"].text.splitlines())
    assert [page["page"] for page in pages] == [1, 2, 3]
    assert end["event"] == "end"
    assert broken.status_code == 422


def test_options_are_read_from_json_attributes_and_query(client):
    document = documents.pdf(THREE_PAGES)
    in_json = client.post_json(
        {"document": base64.b64encode(document).decode(), "pages": "2"}
    )
    in_attributes = client.post(
        document,
        "application/pdf",
        headers={"X-Amzn-SageMaker-Custom-Attributes": "pages=2"},
    )
    in_query = client.post(document, "application/pdf", pages="2")

    answers = [answer.json() for answer in (in_json, in_attributes, in_query)]
    assert [[page["page"] for page in a["pages"]] for a in answers] == [[2]] * 3
    assert len({answer["raw"] for answer in answers}) == 1


@pytest.mark.parametrize("path", ["/invocations", "/predictions/chandra"])
def test_custom_attributes_reach_the_handler_on_both_routes(client, path):
    """TorchServe passes the query string to the handler only on /invocations."""
    answer = client.post(
        documents.pdf(THREE_PAGES),
        "application/pdf",
        path=path,
        headers={"X-Amzn-SageMaker-Custom-Attributes": "pages=2;max_output_tokens=3"},
    ).json()

    assert [page["page"] for page in answer["pages"]] == [2]
    assert answer["usage"]["output_tokens"] <= 3


def test_requests_of_the_legacy_system_are_accepted(client):
    image = base64.b64encode(BODIES["image/png"]).decode()

    answer = client.post_json({"image": image, "prompt_type": "ocr_layout"}).json()

    assert isinstance(answer["text"], str)
    assert answer["raw"]
    assert answer["processing_time"] > 0


def test_a_form_with_a_file_is_read(client):
    answer = httpx.post(
        client.server.predictions_url,
        files={"document": ("page.png", BODIES["image/png"], "image/png")},
        data={"max_output_tokens": "5"},
        timeout=60,
    )

    assert answer.status_code == 200
    assert answer.json()["usage"]["output_tokens"] <= 5


def test_page_cut_off_at_the_token_limit_has_a_warning(client):
    answer = client.post(
        documents.pdf(THREE_PAGES), "application/pdf", max_output_tokens=2
    ).json()

    truncated_pages = [
        page for page in answer["pages"] if page["finish_reason"] == "length"
    ]
    assert truncated_pages
    assert all(page["output_tokens"] == 2 for page in truncated_pages)
    assert all(page["warnings"][-1]["code"] == "truncated" for page in truncated_pages)


def test_answer_names_its_model(client):
    answer = client.post(BODIES["image/png"], "image/png")

    assert answer.json()["model"] == {
        "id": "mini",
        "revision": None,
        "engine": "native",
    }
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


COMPRESSED = {
    "image/png": BODIES["image/png"],
    "application/pdf": BODIES["application/pdf"],
    "application/json": json.dumps(
        {"document": base64.b64encode(BODIES["image/png"]).decode()}
    ).encode(),
}


@pytest.mark.parametrize("media_type", COMPRESSED)
@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {}])
def test_a_compressed_body_is_read_as_the_plain_one(client, media_type, headers):
    body = gzip.compress(COMPRESSED[media_type])
    plain = client.post(COMPRESSED[media_type], media_type).json()

    answer = client.post(body, media_type, headers=headers)

    assert answer.status_code == 200
    assert answer.json()["raw"] == plain["raw"]


def test_a_coding_other_than_gzip_is_unsupported(client):
    answer = client.post(
        BODIES["image/png"], "image/png", headers={"Content-Encoding": "br"}
    )

    assert (answer.status_code, answer.json()["code"]) == (
        415,
        "unsupported_media_type",
    )
    assert "content encoding br" in answer.json()["detail"]


def test_custom_prompt_affects_only_its_own_request(client):
    page, attributes = BODIES["image/png"], "X-Amzn-SageMaker-Custom-Attributes"
    encoded = base64.b64encode(page).decode()
    prompt = "What is the total; in €?"
    options = {"prompt": prompt, "max_output_tokens": 8}

    plain = client.post(page, "image/png", max_output_tokens=8).json()
    in_json = client.post_json({"document": encoded, **options}).json()
    in_query = client.post(page, "image/png", **options).json()
    coded = f"prompt={quote(prompt)};max_output_tokens=8"
    in_header = client.post(page, "image/png", headers={attributes: coded}).json()
    after = client.post(page, "image/png", max_output_tokens=8).json()

    assert in_json["raw"] == in_query["raw"] == in_header["raw"] != plain["raw"]
    assert after["raw"] == plain["raw"]


def test_temperature_affects_only_its_own_request(client):
    page = BODIES["image/png"]

    plain = client.post(page, "image/png", max_output_tokens=16).json()["raw"]
    sampled_texts = {
        client.post(
            page, "image/png", max_output_tokens=16, temperature=2, max_attempts=1
        ).json()["raw"]
        for _ in range(3)
    }
    after = client.post(page, "image/png", max_output_tokens=16).json()["raw"]

    assert len(sampled_texts | {plain}) > 2
    assert after == plain


def test_paginate_separates_pages_in_markdown(client):
    answer = client.post(
        documents.pdf(THREE_PAGES),
        "application/pdf",
        accept="text/markdown",
        paginate=True,
        pages="2-3",
        max_output_tokens=3,
    )

    assert answer.text.count(f"\n\n2{'-' * 48}\n\n") == 1


def test_a_prompt_of_too_many_tokens_is_refused(client):
    encoded = base64.b64encode(BODIES["image/png"]).decode()

    answer = client.post_json({"document": encoded, "prompt": "1 a " * 1500})

    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_option"
    assert "the limit is" in answer.json()["detail"]
