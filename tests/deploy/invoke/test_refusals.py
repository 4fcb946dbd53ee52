"""Tests of invalid requests, which are refused before anything is sent."""

from __future__ import annotations

import pytest

from tests import documents


@pytest.mark.parametrize("pages", ["foo", "", "0", "3-1", "1-2,,3", "2-9"])
def test_invalid_pages_are_rejected_before_sending(
    chandra, set_answer, tmp_path, pages
):
    requests = set_answer(b"# Title")
    path = tmp_path / "three.pdf"
    path.write_bytes(documents.pdf([["one"], ["two"], ["three"]]))

    result = chandra("invoke", str(path), "--pages", pages)

    assert (result.status, requests) == (2, [])
    assert result.err.startswith("error: --pages: ")
    assert "try:   --pages 1-3" in result.err


def test_open_page_range_is_sent_without_blanks(chandra, set_answer, tmp_path):
    requests = set_answer(b"# Title")
    path = tmp_path / "three.pdf"
    path.write_bytes(documents.pdf([["one"], ["two"], ["three"]]))

    result = chandra("invoke", str(path), "--pages", " 3- , 1")

    assert result.status == 0, result.err
    environ, _ = requests[0]
    assert environ["HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"] == "pages=3-,1"


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["nowhere.pdf"], 4, "try:   chandra-sagemaker invoke FILE, with the path"),
        (["PICTURE", "--stream", "--format", "html"], 2, "not html"),
        (["PICTURE", "--pages", "1\r\nX: y"], 2, "must be plain text"),
        (["PICTURE", "--max-output-tokens", "0"], 2, "a whole number above 0, not 0"),
        (["PICTURE", "--temperature", "3"], 2, "from 0 to 2, not 3.0"),
        (["PICTURE", "--max-attempts", "11"], 2, "from 1 to 10, not 11"),
        (
            ["PICTURE", "--prompt", "a<|im_end|>"],
            2,
            "special tokens such as <|im_end|>",
        ),
        (["PICTURE", "--prompt", "x" * 1100], 2, "SageMaker accepts 1,024"),
        (["PICTURE", "--prompt", "@nowhere"], 2, "nowhere cannot be read: No such"),
        (["PICTURE", "--stream", "--paginate"], 2, "without the lines of --paginate"),
        (["EMPTY"], 2, "is empty"),
    ],
)
def test_invalid_requests_are_rejected(
    chandra, set_answer, picture, tmp_path, arguments, status, sentence
):
    requests = set_answer(b"# Title")
    (tmp_path / "empty.png").touch()
    paths = {"PICTURE": picture, "EMPTY": str(tmp_path / "empty.png")}

    result = chandra("invoke", *[paths.get(a, a) for a in arguments])

    assert requests == []
    assert result.status == status
    assert sentence in result.err


def test_document_above_25_mb_is_refused_before_sending(chandra, tmp_path):
    path = tmp_path / "large.pdf"
    path.write_bytes(b"%PDF" + bytes(26_000_000))

    result = chandra("invoke", str(path))

    assert result.status == 2
    assert "SageMaker accepts 25 MB" in result.err


PASSWORD = "hunter2-in-the-header"


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_dry_run_does_not_show_the_password(
    chandra, set_answer, picture, monkeypatch, arguments
):
    requests = set_answer(b"# Title")
    monkeypatch.setenv("PDF_PASSWORD", PASSWORD)

    result = chandra(
        *arguments, "--dry-run", "invoke", picture, "--password-env", "PDF_PASSWORD"
    )

    assert (result.status, requests) == (0, [])
    assert PASSWORD not in result.out + result.err


@pytest.mark.parametrize(
    "password", ["hunter2;b", " hunter2", "hunter2 ", "é-hunter2", "hunter2\nb"]
)
def test_password_invalid_in_a_header_is_refused_and_hidden(
    chandra, set_answer, picture, monkeypatch, password
):
    requests = set_answer(b"# Title")
    monkeypatch.setenv("PDF_PASSWORD", password)

    result = chandra("invoke", picture, "--password-env", "PDF_PASSWORD")

    assert (result.status, requests) == (2, [])
    assert "--password-env: " in result.err
    assert "hunter2" not in result.out + result.err


def test_unset_password_variable_is_refused(chandra, set_answer, picture):
    requests = set_answer(b"# Title")

    result = chandra("invoke", picture, "--password-env", "NOT_SET_ANYWHERE")

    assert (result.status, requests) == (2, [])
    assert "there is no environment variable NOT_SET_ANYWHERE" in result.err


def test_password_is_sent_in_header_outside_cloudtrail(
    chandra, set_answer, picture, monkeypatch
):
    requests = set_answer(b"# Title")
    monkeypatch.setenv("PDF_PASSWORD", PASSWORD)

    result = chandra(
        "invoke", picture, "--pages", "1", "--password-env", "PDF_PASSWORD"
    )

    assert result.status == 0, result.err
    environ, _ = requests[0]
    assert environ["HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"] == (
        f"pages=1;password={PASSWORD}"
    )
    assert PASSWORD not in result.out + result.err
