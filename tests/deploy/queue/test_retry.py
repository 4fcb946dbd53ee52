"""Documents that are submitted again because they failed or lack pages."""

from __future__ import annotations

import json
import os

import pytest

from tests.deploy.contents import PDF
from tests.deploy.queue.queued import (
    BROKEN,
    DYING,
    build_result,
)


def test_retry_writes_to_its_own_address(chandra, queue, folder):
    (folder / "c.pdf").write_bytes(PDF + DYING)
    chandra("async", "submit", str(folder))
    queue.process_waiting()
    chandra("async", "wait")
    without_retry = chandra("async", "submit", str(folder))

    second_result = chandra("async", "submit", "--retry-failed")

    assert (
        "1 failed earlier with a transient error: add --retry-failed"
        in without_retry.out
    )
    assert second_result.status == 0, second_result.err
    assert len(queue.accepted) == 4
    first, second = (
        q for q in queue.accepted if q.headers["filename"]
        == queue.accepted[-1].headers["filename"]
    )  # fmt: skip
    assert first.output != second.output
    assert chandra("async", "wait", "--timeout", "1").status == 7


def read_in_part(queue, code="engine_failed"):
    """Write the result of the waiting document without its second page."""
    body = json.loads(build_result(b"first", failed=(2,)))
    body["pages"][1]["error"]["code"] = code
    queue.write(queue.waiting.pop().output, json.dumps(body).encode())


def test_transiently_missing_pages_are_retried(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    read_in_part(queue)
    in_part = chandra("async", "wait")

    second_result = chandra("async", "submit", "--retry-failed", "--json")
    queue.process_waiting()
    whole = chandra("async", "wait", "--json")
    chandra("async", "fetch")

    assert "1 were read in part, after a transient error" in in_part.out
    assert "async submit --retry-failed" in in_part.out
    assert second_result.json["submitted"] == 1
    assert (whole.json["pages"], whole.json["in_part"]) == (2, 0)
    assert not (folder / "a.pdf.error.json").exists()


def test_unwritable_result_does_not_stop_others(chandra, queue, folder):
    # With .md behind it, longer than a file system takes.
    long_path = folder / f"{'x' * 250}.pdf"
    long_path.write_bytes(PDF + b"another")
    chandra("async", "submit", str(long_path), str(folder / "a.pdf"))
    queue.process_waiting()

    result = chandra("async", "fetch")

    assert result.status == 1
    assert f"not written: {long_path}.md: File name too long" in result.out
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_equal_names_of_two_submissions_are_both_written(
    chandra, queue, folder, tmp_path
):
    (folder / "2026" / "a.pdf").write_bytes(PDF + b"another")
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.process_waiting()
    chandra("async", "fetch", "--into", str(tmp_path / "out"))
    chandra("async", "submit", str(folder / "2026" / "a.pdf"))
    queue.process_waiting()

    result = chandra("async", "fetch", "--into", str(tmp_path / "out"))
    second_result = chandra(
        "async", "fetch", "--into", str(tmp_path / "out"), "--json"
    ).json

    assert result.status == 0, result.out
    first, second = sorted((tmp_path / "out").iterdir())
    assert (first.name, first.read_text()) == ("a.pdf.md", "# first\n")
    assert (second.name[:2], second.read_text()) == ("a~", "# another\n")
    assert second_result["outcomes"] == {"unchanged": 2}


def test_file_with_two_option_sets_has_two_results(chandra, queue, folder):
    path = str(folder / "a.pdf")
    chandra("async", "submit", path)
    queue.process_waiting()
    chandra("async", "fetch")
    chandra("async", "submit", path, "--max-output-tokens", "9")
    queue.write(queue.waiting.pop().output, build_result(b"short"))

    result = chandra("async", "fetch")

    assert result.status == 0, result.out
    results = sorted(folder.glob("a*.md"))
    assert [each.read_text() for each in results] == ["# first\n", "# short\n"]
    assert results[0].name == "a.pdf.md"


def test_folder_without_documents_is_reported(chandra, queue, tmp_path):
    (tmp_path / "empty").mkdir()

    result = chandra("async", "submit", str(tmp_path / "empty"))

    assert result.status == 0, result.err
    assert f"{tmp_path / 'empty'}: there is no document in it" in result.out


def test_non_utf8_file_name_is_fetched_into_s3(chandra, queue, wire, folder):
    path = folder / os.fsdecode(b"no\xfftext.pdf")
    path.write_bytes(PDF + BROKEN)
    chandra("async", "submit", str(path))
    queue.process_waiting()

    beside_result = chandra("async", "fetch")
    into_result = chandra("async", "fetch", "--into", "s3://exchange/results")

    assert (beside_result.status, into_result.status) == (1, 1), (
        beside_result.err + into_result.err
    )
    assert "no\\udcfftext.pdf" in beside_result.out
    wire.call(
        "s3",
        "head_object",
        Bucket="exchange",
        Key="results/no\ufffdtext.pdf.error.json",
    )


def test_fetch_reports_missing_pages(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    read_in_part(queue, "deadline_exceeded")

    result = chandra("async", "fetch")
    second_result = chandra("async", "fetch", "--json").json

    assert result.status == 0, result.err
    target = str(folder / "a.pdf.md")
    assert f"in part: {target} lacks page 2 (deadline_exceeded)" in result.out
    assert second_result["results"][0]["missing_pages"] == {"2": "deadline_exceeded"}


def test_missing_pages_are_found_in_markdown(chandra, queue, folder):
    """The service writes a comment for a missing page, which is kept unchanged."""
    body = b"# first\n\n<!-- page 2: engine_failed: it died twice -->\n"
    whole = b"# first\n\n# second\n"
    chandra("async", "submit", str(folder / "a.pdf"), "--format", "md")
    queue.write(queue.waiting.pop().output, body)

    wait_result = chandra("async", "wait", "--json").json
    result = chandra("async", "fetch")
    fetched_text = (folder / "a.pdf.md").read_bytes()
    error_report = json.loads((folder / "a.pdf.error.json").read_text())
    second_result = chandra("async", "submit", "--retry-failed", "--json").json
    queue.write(queue.waiting.pop().output, whole)
    after = chandra("async", "fetch")

    assert (wait_result["pages_failed"], wait_result["in_part"]) == (1, 1)
    assert "lacks page 2 (engine_failed)" in result.out
    assert fetched_text == body
    assert error_report["pages"] == [
        {"page": 2, "code": "engine_failed", "detail": "it died twice"}
    ]
    assert second_result["submitted"] == 1
    assert "in part" not in after.out
    assert (folder / "a.pdf.md").read_bytes() == whole
    assert not (folder / "a.pdf.error.json").exists()


def test_markdown_with_fewer_missing_pages_is_kept(chandra, queue, folder):
    body = b"# first\n\n<!-- page 2: engine_failed: it died twice -->\n"
    worse = body + b"\n<!-- page 3: engine_failed: it died twice -->\n"
    chandra("async", "submit", str(folder / "a.pdf"), "--format", "md")
    queue.write(queue.waiting.pop().output, body)
    chandra("async", "wait")
    chandra("async", "submit", "--retry-failed")
    queue.write(queue.waiting.pop().output, worse)

    chandra("async", "fetch")

    assert (folder / "a.pdf.md").read_bytes() == body


@pytest.mark.parametrize("code", ["unreadable_document", "deadline_exceeded"])
def test_permanently_missing_pages_are_not_retried(chandra, queue, folder, code):
    chandra("async", "submit", str(folder / "a.pdf"))
    read_in_part(queue, code)
    chandra("async", "wait")

    second_result = chandra(
        "async", "submit", str(folder / "a.pdf"), "--retry-failed", "--json"
    )

    assert (second_result.json["submitted"], second_result.json["known"]) == (0, 1)


def test_failing_page_is_retried_at_most_three_times(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    counts = []
    for _ in range(4):
        while queue.waiting:
            read_in_part(queue)
        chandra("async", "wait")
        result = chandra("async", "submit", "--retry-failed", "--json")
        counts.append(result.json["submitted"])

    assert counts == [1, 1, 0, 0]


@pytest.mark.parametrize("is_refused", [True, False])
def test_better_earlier_attempt_is_kept(chandra, queue, folder, is_refused):
    chandra("async", "submit", str(folder / "a.pdf"))
    read_in_part(queue)
    chandra("async", "wait")
    chandra("async", "submit", "--retry-failed")
    queued = queue.waiting.pop()
    if is_refused:
        queue.write(queued.failure, b'{"code": "engine_failed", "detail": "died"}')
    else:
        queue.write(queued.output, build_result(b"worse", failed=(1, 2)))

    result = chandra("async", "wait", "--json")
    chandra("async", "fetch")

    assert (result.status, result.json["pages"]) == (0, 1)
    assert result.json["page_failures"] == {"engine_failed": 1}
    assert (folder / "a.pdf.md").read_text().startswith("# first\n")


def test_interrupted_retry_continues(chandra, queue, folder):
    (folder / "c.pdf").write_bytes(PDF + DYING)
    chandra("async", "submit", str(folder))
    queue.process_waiting()
    chandra("async", "wait")
    queue.refusals = ["ValidationError"]
    broken_off = chandra("async", "submit", "--retry-failed")

    second_result = chandra("async", "submit", "--retry-failed", "--json")

    assert broken_off.status == 4
    assert second_result.json["submitted"] == 1


def test_submit_without_input_is_refused(chandra, queue):
    result = chandra("async", "submit")

    assert result.status == 2
    assert "no INPUT was given" in result.err
