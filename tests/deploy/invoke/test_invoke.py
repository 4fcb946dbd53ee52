"""Tests of `invoke` with one document: options, output and errors."""

from __future__ import annotations

import json

import pytest

from tests.deploy.conftest import interrupt
from tests.deploy.invoke.answers import DOCUMENT


def test_a_document_comes_back_as_markdown(chandra, set_answer, picture):
    requests = set_answer(b"# Title\n")

    result = chandra("invoke", picture, "--pages", "1-3", "--max-output-tokens", "100")

    environ, body = requests[0]
    assert (result.status, result.out) == (0, "# Title\n")
    assert environ["PATH_INFO"] == "/endpoints/ocr/invocations"
    assert environ["CONTENT_TYPE"] == "image/png"
    assert environ["HTTP_ACCEPT"] == "text/markdown"
    assert environ["HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"] == (
        "pages=1-3;max_output_tokens=100"
    )
    assert body.startswith(b"\x89PNG")


def test_page_options_are_sent(chandra, set_answer, picture, tmp_path):
    requests = set_answer(b"# Title\n")
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Betrag; Währung?\n")

    result = chandra("invoke", picture, "--temperature", "0.3", "--max-attempts", "2",
                  "--prompt", f"@{prompt}", "--paginate", "--tables", "html",
                  "--inline-images", "--include-headers-footers")  # fmt: skip

    assert result.status == 0, result.err
    assert requests[0][0]["HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"] == (
        "max_attempts=2;temperature=0.3;prompt=Betrag%3B W%C3%A4hrung?;tables=html;"
        "inline_images=true;include_headers_footers=true;paginate=true"
    )


def test_the_answer_can_go_to_a_file(chandra, set_answer, picture, tmp_path):
    set_answer(b"<!DOCTYPE html>")
    path = tmp_path / "out.html"

    result = chandra("invoke", picture, "--format", "html", "-o", str(path))

    assert result.status == 0
    assert path.read_text() == "<!DOCTYPE html>"


def test_failed_page_is_reported_with_the_others(chandra, set_answer, picture):
    set_answer(json.dumps(DOCUMENT).encode())

    result = chandra("invoke", picture, "--format", "json")

    assert result.status == 0
    assert json.loads(result.out)["pages"][0]["markdown"] == "# Title"
    assert "page 2 was not read: page 2 ends early (unreadable_document)" in result.err


def set_model_error(set_answer, status, message):
    """Set the response of SageMaker to an error of the container."""
    body = {
        "Message": "Received client error (422) from primary with message …",
        "OriginalStatusCode": status,
        "OriginalMessage": message,
        "LogStreamArn": "arn:aws:logs:…",
    }
    set_answer(
        json.dumps(body).encode(),
        status="424 Failed Dependency",
        headers=[("x-amzn-ErrorType", "ModelError")],
    )


def test_a_model_error_is_unwrapped_to_the_problem_inside(chandra, set_answer, picture):
    problem = {"code": "invalid_option", "detail": "unknown option pgaes; did you mean "
               "pages?", "status": 422}  # fmt: skip
    set_model_error(set_answer, 422, json.dumps(problem))

    result = chandra("invoke", picture)

    assert result.status == 1
    assert (
        "unknown option pgaes; did you mean pages? (invalid_option, 422)" in result.err
    )
    assert "primary" not in result.err


def test_model_error_without_problem_is_shown_unchanged(chandra, set_answer, picture):
    set_model_error(set_answer, 413, "")

    result = chandra("invoke", picture)

    assert "the container answered 413: nothing" in result.err


@pytest.mark.parametrize("content", [b"<html>a proxy</html>", b"[]", b"\xff"])
def test_invalid_answer_is_reported(chandra, set_answer, picture, content):
    set_answer(content)

    result = chandra("invoke", picture, "--format", "json")

    assert result.status == 6
    assert "did not return a valid document" in result.err


def test_timeout_suggests_fewer_pages(chandra, set_answer, picture):
    set_model_error(set_answer, 0, "")

    result = chandra("invoke", picture)

    assert "did not answer within SageMaker's 60 s" in result.err
    assert "--pages" in result.err


def test_failed_invocation_is_not_retried(chandra, set_answer, picture):
    requests = set_answer(b"oops", status="500 Internal Server Error")

    result = chandra("invoke", picture)

    assert result.status == 1
    assert len(requests) == 1


def test_error_of_a_missing_endpoint_names_it(chandra, set_answer, picture):
    set_answer(
        json.dumps({"Message": "Endpoint ocr of account 1 not found."}).encode(),
        status="400 Bad Request",
        headers=[("x-amzn-ErrorType", "ValidationError")],
    )

    result = chandra("invoke", picture)

    assert result.status == 4
    assert "there is no endpoint ocr in service" in result.err


@pytest.mark.parametrize("output", ["missing/out.md", "."])
def test_unwritable_output_is_refused_before_sending(
    chandra, set_answer, picture, tmp_path, output
):
    requests = set_answer(b"# Title")

    result = chandra("invoke", picture, "-o", str(tmp_path / output))

    assert (result.status, requests) == (2, [])
    assert "--output with a writable path" in result.err


@pytest.mark.parametrize("arguments", [[], ["--stream"]])
def test_ctrl_c_reports_state_of_the_document(chandra, intercept, picture, arguments):
    streamed = "InvokeEndpointWithResponseStream"
    intercept("sagemaker-runtime", "InvokeEndpoint", interrupt)
    intercept("sagemaker-runtime", streamed, interrupt, is_streaming=True)

    result = chandra("invoke", picture, *arguments)

    assert result.status == 130
    assert (
        "endpoint ocr may continue to read the document; nothing was written"
        in result.err
    )
