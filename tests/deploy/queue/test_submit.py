"""Submission of documents to a queue."""

from __future__ import annotations

import json

import pytest

from deploy.commands.queue.submit import MAX_BYTES
from deploy.queue.submit import LEASE_SECONDS
from handler.http.json_body import parse_members
from tests.deploy.contents import PDF, PNG
from tests.deploy.queue.queued import (
    CONFIG_TEMPLATE,
    get_object,
    put_object,
    read_states,
    store_as_sending,
)
from tests.documents import pdf


def test_folder_is_uploaded_and_queued(chandra, queue, folder, wire):
    result = chandra("async", "submit", str(folder))

    assert result.status == 0, result.err
    assert "3 documents are in the queue of ocr-async" in result.out
    assert f"left out: {folder / 'notes.docx'}: not a type we read: .docx" in result.out
    assert {q.endpoint for q in queue.accepted} == {"ocr-async"}
    types = sorted(q.headers["content_type"] for q in queue.accepted)
    assert types == ["application/pdf", "application/pdf", "image/png"]
    assert get_object(
        wire, *queue.accepted[0].headers["inputlocation"][5:].split("/", 1)
    )


def test_second_submit_sends_nothing(chandra, queue, folder):
    chandra("async", "submit", str(folder))

    second_result = chandra("async", "submit", str(folder), "--json")

    assert second_result.status == 0, second_result.err
    assert second_result.json["submitted"] == 0
    assert second_result.json["known"] == 3
    assert len(queue.accepted) == 3


def test_equal_files_are_read_once(chandra, queue, folder):
    (folder / "copy.pdf").write_bytes(PDF + b"first")

    chandra("async", "submit", str(folder))
    queue.process_waiting()
    chandra("async", "fetch")

    assert len(queue.accepted) == 3
    assert (folder / "copy.pdf.md").read_text() == "# first\n"
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_only_changed_documents_are_read_again(chandra, queue, folder):
    chandra("async", "submit", str(folder))
    queue.process_waiting()
    chandra("async", "fetch")
    (folder / "a.pdf").write_bytes(PDF + b"another")

    chandra("async", "submit", str(folder))
    queue.process_waiting()
    chandra("async", "fetch")

    assert len(queue.accepted) == 4
    assert (folder / "a.pdf.md").read_text() == "# another\n"


def test_options_are_sent_as_custom_attributes(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"), "--pages", "1-3, 7",
            "--max-output-tokens", "900", "--format", "md")  # fmt: skip

    (queued,) = queue.accepted
    assert queued.headers["custom_attributes"] == "max_output_tokens=900;pages=1-3,7"
    assert queued.headers["accept"] == "text/markdown"
    assert queued.headers["invocationtimeoutseconds"] == "3600"
    assert queued.headers["requestttlseconds"] == "21600"


def test_other_options_submit_document_again(chandra, queue, folder):
    path = str(folder / "a.pdf")

    for options in ([], ["--prompt", "x; y"], ["--paginate"], ["--temperature", "1"]):
        for _ in range(2):
            chandra("async", "submit", path, *options)

    attributes = [queued.headers.get("custom_attributes") for queued in queue.accepted]
    assert attributes == [None, "prompt=x%3B y", "paginate=true", "temperature=1.0"]


def test_long_prompt_is_sent_without_escapes(chandra, queue, project, folder, tmp_path):
    project(CONFIG_TEMPLATE.format(isolation="false"))
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("сумма " * 700, "utf-8-sig")

    chandra("async", "submit", str(folder / "a.pdf"), "--prompt", f"@{prompt}")

    (queued,) = queue.accepted
    assert parse_members(queued.body, ())["prompt"] == ("сумма " * 700).strip()


@pytest.mark.parametrize(
    "flags", [("--temperature", "1"), ("--format", "json"), ("--hidden",)], ids=" ".join
)
def test_retry_accepts_no_other_options(chandra, queue, folder, flags):
    chandra("async", "submit", str(folder / "a.pdf"))

    result = chandra("async", "submit", "--retry-failed", *flags)

    assert result.status == 2
    assert "sends each document as it was submitted" in result.err


@pytest.mark.parametrize("isolation", ["true", "false"])
def test_manifest_in_s3_is_submitted(chandra, queue, wire, project, isolation):
    project(CONFIG_TEMPLATE.format(isolation=isolation))
    put_object(wire, "scans", "2026/a.pdf", b"first")
    lines = [
        {"document": "s3://scans/2026/a.pdf", "pages": "1-5"},
        {"document": "s3://scans/2026/a.pdf"},
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    put_object(wire, "scans", "wanted.jsonl", content)

    result = chandra("async", "submit", "s3://scans/wanted.jsonl")

    assert result.status == 0, result.err
    requests_by_location = {q.headers.get("inputlocation"): q for q in queue.accepted}
    if isolation == "true":
        assert {*requests_by_location} == {"s3://scans/2026/a.pdf"}
        assert "pages=1-5" in [
            q.headers.get("custom_attributes") for q in queue.accepted
        ]
    else:
        body = {"s3_uri": "s3://scans/2026/a.pdf", "pages": "1-5"}
        assert json.loads(requests_by_location[None].body) == body
        assert requests_by_location[None].headers["content_type"] == "application/json"
        assert requests_by_location["s3://scans/2026/a.pdf"].body == b""


def test_unreachable_object_is_left_out_and_reported(chandra, queue, wire):
    put_object(wire, "others", "a.pdf", b"first")

    result = chandra("async", "submit", "s3://others/a.pdf")

    assert result.status == 1
    assert "add it to asynchronous.sources" in result.out
    assert queue.accepted == []


def test_refused_documents_are_in_ledger(chandra, queue, folder, tmp_path):
    (folder / "empty.png").touch()
    manifest = tmp_path / "wanted.jsonl"
    uris = ["s3://scans/gone.pdf", "scans/a.pdf", "nowhere/b.pdf"]
    manifest.write_text("\n".join(json.dumps({"document": uri}) for uri in uris))

    submitted = chandra("async", "submit", str(folder / "empty.png"), str(manifest))
    queue.process_waiting()
    wait_result = chandra("async", "wait", "--json")
    fetch_result = chandra("async", "fetch", "--json")

    assert submitted.status == wait_result.status == fetch_result.status == 1
    assert (wait_result.json["read"], wait_result.json["waiting"]) == (1, 0)
    assert wait_result.json["failures"] == {
        "document_not_found": 2, "unreadable_document": 1
    }  # fmt: skip
    error = json.loads((folder / "empty.png.error.json").read_text())
    assert (error["code"], error["detail"]) == ("unreadable_document", "it is empty")
    assert get_error(queue, "scans", "gone.pdf")["code"] == "document_not_found"
    assert not (tmp_path / "nowhere").exists()
    assert {each["outcome"] for each in fetch_result.json["results"]} == {
        "written", "failed"
    }  # fmt: skip


def get_error(queue, bucket, key):
    return json.loads(get_object(queue.wire, bucket, f"{key}.error.json"))


def test_retry_checks_refused_documents_again(chandra, queue, folder):
    empty = folder / "empty.png"
    empty.touch()
    chandra("async", "submit", str(folder))
    chandra("async", "fetch")
    first_retry = chandra("async", "submit", "--retry-failed", "--json")
    empty.write_bytes(PNG + b"filled")

    second_result = chandra("async", "submit", "--retry-failed", "--json")
    queue.process_waiting()
    wait_result = chandra("async", "wait", "--json")
    chandra("async", "fetch")

    assert (first_retry.status, first_retry.json["submitted"]) == (1, 0)
    assert (second_result.status, second_result.json["submitted"]) == (0, 1)
    assert wait_result.json["failures"] == {"unreadable_document": 1}
    assert (folder / "empty.png.md").read_text() == "# filled\n"
    assert not (folder / "empty.png.error.json").exists()


def test_deleted_document_stays_read(chandra, queue, wire):
    put_object(wire, "scans", "a.pdf", b"first")
    put_object(wire, "scans", "wanted.jsonl", b'{"document": "s3://scans/a.pdf"}')
    chandra("async", "submit", "s3://scans/wanted.jsonl")
    queue.process_waiting()
    wire.call("s3", "delete_object", Bucket="scans", Key="a.pdf")

    second_result = chandra("async", "submit", "s3://scans/wanted.jsonl")
    wait_result = chandra("async", "wait", "--json")

    assert second_result.status == 1
    assert "there is no such object (document_not_found)" in second_result.out
    assert (wait_result.json["read"], wait_result.json["failed"]) == (1, 0)


def test_replaced_document_counts_once(chandra, queue, folder):
    chandra("async", "submit", str(folder / "c.pdf"))
    queue.process_waiting()
    chandra("async", "wait")
    (folder / "c.pdf").write_bytes(PDF + b"mended")

    chandra("async", "submit", str(folder / "c.pdf"))
    queue.process_waiting()
    wait_result = chandra("async", "wait", "--json")

    assert (wait_result.status, wait_result.json["documents"]) == (0, 1)


def test_document_above_one_gib_is_refused(chandra, queue, folder):
    # A sparse file: its gigabyte takes no room on the disk.
    with (folder / "2026" / "b.png").open("r+b") as file:
        file.truncate(MAX_BYTES + 1)

    result = chandra("async", "submit", str(folder / "2026"), str(folder / "a.pdf"))
    wait_result = chandra("async", "wait", "--timeout", "1", "--json")

    assert (
        "it has 1,073,741,825 bytes, and SageMaker accepts 1,073,741,824 "
        "(document_too_large)" in result.out
    )
    assert len(queue.accepted) == 1
    assert wait_result.status == 7


def test_throttled_request_is_retried(chandra, queue, folder, at):
    queue.refusals = ["ThrottlingException"] * 3
    started = at.now

    result = chandra("async", "submit", str(folder / "a.pdf"))

    assert result.status == 0, result.err
    assert len(queue.accepted) == 1
    # Pauses of 1, 2 and 4 s, each shortened by up to half.
    assert 3.5 <= at.now - started <= 7


def test_missing_endpoint_stops_and_can_continue(chandra, queue, folder):
    queue.refusals = ["ValidationError"] * 20

    result = chandra("async", "submit", str(folder))
    queue.refusals.clear()
    second_result = chandra("async", "submit", str(folder))

    assert result.status == 4
    assert "no endpoint ocr-async in service" in result.err
    assert second_result.status == 0, second_result.err
    assert len(queue.accepted) == 3


def test_lost_response_gives_one_result(chandra, queue, folder, ledger):
    queue.num_unanswered = 1

    chandra("async", "submit", str(folder / "a.pdf"))
    queue.process_waiting()
    chandra("async", "fetch")

    assert {q.output for q in queue.accepted} == {queue.accepted[0].output}
    assert read_states(ledger) == ["done"]
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_killed_request_that_arrived_is_not_sent_again(chandra, queue, folder, ledger):
    chandra("async", "submit", str(folder / "a.pdf"))
    (job,) = ledger().read_jobs()
    store_as_sending(
        ledger, job.key, owner="elsewhere/1", since=0.0, output=None, failure=None
    )
    queue.process_waiting()

    result = chandra("async", "submit", str(folder / "a.pdf"))
    wait_result = chandra("async", "wait")

    assert result.status == wait_result.status == 0, result.err
    assert len(queue.accepted) == 1


def test_killed_request_that_failed_is_not_sent_again(chandra, queue, folder, ledger):
    chandra("async", "submit", str(folder / "c.pdf"))
    (job,) = ledger().read_jobs()
    store_as_sending(
        ledger, job.key, owner="elsewhere/1", since=0.0, output=None, failure=None
    )
    queue.process_waiting()

    result = chandra("async", "submit", str(folder / "c.pdf"))
    wait_result = chandra("async", "wait", "--json")

    assert result.status == 0, result.err
    assert wait_result.json["failures"] == {"unreadable_document": 1}
    assert len(queue.accepted) == 1


def test_results_of_earlier_ledger_are_not_reused(chandra, queue, folder, tmp_path):
    chandra("async", "submit", str(folder))
    queue.process_waiting()
    chandra("async", "wait")
    (tmp_path / "chandra.ledger.db").unlink()

    chandra("async", "submit", str(folder))
    before = chandra("async", "wait", "--timeout", "1")
    queue.process_waiting()
    after = chandra("async", "wait", "--json")

    assert before.status == 7
    assert len({queued.output for queued in queue.accepted}) == 6
    assert (after.json["read"], after.json["failed"]) == (2, 1)


def test_killed_request_that_did_not_arrive_is_sent_again(
    chandra, queue, folder, ledger
):
    chandra("async", "submit", str(folder / "a.pdf"))
    (job,) = ledger().read_jobs()
    store_as_sending(
        ledger, job.key, owner="elsewhere/1", since=0.0, output=None, failure=None
    )

    chandra("async", "submit", str(folder / "a.pdf"))

    assert len(queue.accepted) == 2
    assert len({q.output for q in queue.accepted}) == 1


def test_job_of_another_process_is_not_sent(chandra, queue, folder, ledger, at):
    chandra("async", "submit", str(folder / "a.pdf"))
    (job,) = ledger().read_jobs()
    store_as_sending(ledger, job.key, owner="elsewhere/1", since=at.now)

    first = chandra("async", "submit", str(folder / "a.pdf"), "--json")
    at.now += LEASE_SECONDS + 1
    second = chandra("async", "submit", str(folder / "a.pdf"), "--json")

    assert first.json["elsewhere"] == 1
    assert second.json["submitted"] == 1


def test_file_changed_during_submit_is_not_sent(
    chandra, queue, folder, ledger, intercept
):
    # S3 is asked for the object between the look at the file and its upload.
    def change_file(params):
        (folder / "a.pdf").write_bytes(b"%PDF-1.7 another")

    intercept("s3", "HeadObject", change_file)

    result = chandra("async", "submit", str(folder / "a.pdf"))

    assert result.status == 1
    assert "it changed while it was submitted" in result.out
    assert queue.accepted == []
    assert read_states(ledger) == ["new"]


def test_dry_run_counts_and_sends_nothing(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))

    result = chandra("async", "submit", str(folder), "--dry-run")

    assert result.status == 0, result.err
    assert "would submit 2 documents" in result.out
    assert "1 are read or in the queue already" in result.out
    assert len(queue.accepted) == 1


def test_document_too_long_for_timeout_is_reported(chandra, queue, folder, project):
    project(CONFIG_TEMPLATE.format(isolation="true") + "timeout_seconds = 60\n")
    (folder / "long.pdf").write_bytes(pdf([["one"]] * 5))

    result = chandra("async", "submit", str(folder / "long.pdf"))

    assert result.status == 0, result.err
    assert "note: 1 documents have more than 3 pages" in result.out
    assert "asynchronous.concurrency" in result.out


def test_ledger_in_s3_is_supported(chandra, queue, folder, tmp_path):
    where = ["--ledger", "s3://exchange/ledger"]
    chandra("async", "submit", str(folder), *where)
    second_result = chandra("async", "submit", str(folder), *where, "--json")
    queue.process_waiting()
    fetch_result = chandra("async", "fetch", *where)

    assert second_result.json["known"] == 3
    assert "wrote 2 results" in fetch_result.out
    assert not (tmp_path / "chandra.ledger.db").exists()
