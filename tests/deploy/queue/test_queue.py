"""Documents through a queue: submitted once, watched, fetched beside their sources."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace

import pytest

from deploy.commands.queue.submit import MAX_BYTES
from deploy.console import Console
from deploy.documents.document import Document
from deploy.errors import DeployError
from deploy.queue.job import Job, Place, State
from deploy.queue.ledger import SqliteLedger
from deploy.queue.submit import LEASE_SECONDS, request_of
from deploy.queue.wait import Waiting
from handler.http.json_body import parse_members
from tests.deploy.accounts import configured
from tests.deploy.contents import PDF, PNG, beginning
from tests.deploy.queue.queued import BROKEN, DYING, FakeQueue, answer_to
from tests.deploy.weights.stored import Bucket
from tests.documents import pdf

EXTRA = """
[network]
isolation = {isolation}
[asynchronous]
bucket = "exchange"
sources = ["scans"]
"""


@pytest.fixture
def queue(cloud, wire, project):
    """The bucket, the configuration, and what accepts documents."""
    for bucket in ("exchange", "scans", "others"):
        wire.call("s3", "create_bucket", Bucket=bucket)
    project(EXTRA.format(isolation="true"))
    cloud.invoked = FakeQueue(wire)
    return cloud.invoked


@pytest.fixture
def folder(tmp_path):
    """Three documents, one of them broken, and what is none."""
    root = tmp_path / "scans"
    (root / "2026").mkdir(parents=True)
    (root / "a.pdf").write_bytes(PDF + b"first")
    (root / "2026" / "b.png").write_bytes(PNG + b"second")
    (root / "c.pdf").write_bytes(PDF + BROKEN)
    (root / "notes.docx").write_bytes(b"words")
    return root


@pytest.fixture
def ledger(tmp_path):
    """The ledger as it is when it is asked for."""
    opened = []

    def now():
        opened.append(SqliteLedger(tmp_path / "chandra.ledger.db"))
        return opened[-1]

    yield now
    for each in opened:
        each.close()


def put(wire, bucket, key, content):
    content = beginning(key) + content
    wire.call("s3", "put_object", Bucket=bucket, Key=key, Body=content)


def get(wire, bucket, key):
    return wire.call("s3", "get_object", Bucket=bucket, Key=key)["Body"].read()


def states(ledger):
    return sorted(job.state.value for job in ledger().jobs())


# Submitting


def test_a_folder_is_uploaded_and_queued(chandra, queue, folder, wire):
    ran = chandra("async", "submit", str(folder))

    assert ran.status == 0, ran.err
    assert "3 documents are in the queue of ocr-async" in ran.out
    assert f"left out: {folder / 'notes.docx'}: not a type we read: .docx" in ran.out
    assert {q.endpoint for q in queue.accepted} == {"ocr-async"}
    types = sorted(q.headers["content_type"] for q in queue.accepted)
    assert types == ["application/pdf", "application/pdf", "image/png"]
    assert get(wire, *queue.accepted[0].headers["inputlocation"][5:].split("/", 1))


def test_submitting_twice_costs_nothing(chandra, queue, folder):
    chandra("async", "submit", str(folder))

    again = chandra("async", "submit", str(folder), "--json")

    assert again.status == 0, again.err
    assert again.json["submitted"] == 0
    assert again.json["known"] == 3
    assert len(queue.accepted) == 3


def test_the_same_bytes_under_two_names_are_read_once(chandra, queue, folder):
    (folder / "copy.pdf").write_bytes(PDF + b"first")

    chandra("async", "submit", str(folder))
    queue.read()
    chandra("async", "fetch")

    assert len(queue.accepted) == 3
    assert (folder / "copy.pdf.md").read_text() == "# first\n"
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_what_changed_is_read_again_and_nothing_else(chandra, queue, folder):
    chandra("async", "submit", str(folder))
    queue.read()
    chandra("async", "fetch")
    (folder / "a.pdf").write_bytes(PDF + b"another")

    chandra("async", "submit", str(folder))
    queue.read()
    chandra("async", "fetch")

    assert len(queue.accepted) == 4
    assert (folder / "a.pdf.md").read_text() == "# another\n"


def test_options_travel_as_custom_attributes(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"), "--pages", "1-3, 7",
            "--max-output-tokens", "900", "--format", "md")  # fmt: skip

    (queued,) = queue.accepted
    assert queued.headers["custom_attributes"] == "max_output_tokens=900;pages=1-3,7"
    assert queued.headers["accept"] == "text/markdown"
    assert queued.headers["invocationtimeoutseconds"] == "3600"
    assert queued.headers["requestttlseconds"] == "21600"


def test_a_document_is_read_again_with_other_options(chandra, queue, folder):
    one = str(folder / "a.pdf")

    for options in ([], ["--prompt", "x; y"], ["--paginate"], ["--temperature", "1"]):
        for _ in range(2):
            chandra("async", "submit", one, *options)

    sent = [queued.headers.get("custom_attributes") for queued in queue.accepted]
    assert sent == [None, "prompt=x%3B y", "paginate=true", "temperature=1.0"]


def test_a_long_prompt_is_sent_as_the_service_takes_it(
    chandra, queue, project, folder, tmp_path
):
    project(EXTRA.format(isolation="false"))
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("сумма " * 700, "utf-8-sig")

    chandra("async", "submit", str(folder / "a.pdf"), "--prompt", f"@{prompt}")

    (queued,) = queue.accepted
    assert parse_members(queued.body, ())["prompt"] == ("сумма " * 700).strip()


@pytest.mark.parametrize(
    "flags", [("--temperature", "1"), ("--format", "json"), ("--hidden",)], ids=" ".join
)
def test_a_retry_of_the_ledger_takes_no_other_options(chandra, queue, folder, flags):
    chandra("async", "submit", str(folder / "a.pdf"))

    ran = chandra("async", "submit", "--retry-failed", *flags)

    assert ran.status == 2
    assert "sends each document as it was submitted" in ran.err


@pytest.mark.parametrize("isolation", ["true", "false"])
def test_a_manifest_in_s3_is_read_by_whom_the_network_allows(
    chandra, queue, wire, project, isolation
):
    project(EXTRA.format(isolation=isolation))
    put(wire, "scans", "2026/a.pdf", b"first")
    lines = [
        {"document": "s3://scans/2026/a.pdf", "pages": "1-5"},
        {"document": "s3://scans/2026/a.pdf"},
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    put(wire, "scans", "wanted.jsonl", content)

    ran = chandra("async", "submit", "s3://scans/wanted.jsonl")

    assert ran.status == 0, ran.err
    told = {q.headers.get("inputlocation"): q for q in queue.accepted}
    if isolation == "true":
        assert {*told} == {"s3://scans/2026/a.pdf"}
        assert "pages=1-5" in [
            q.headers.get("custom_attributes") for q in queue.accepted
        ]
    else:
        body = {"s3_uri": "s3://scans/2026/a.pdf", "pages": "1-5"}
        assert json.loads(told[None].body) == body
        assert told[None].headers["content_type"] == "application/json"
        assert told["s3://scans/2026/a.pdf"].body == b""


def test_what_the_endpoint_may_not_read_is_left_out_and_said(chandra, queue, wire):
    put(wire, "others", "a.pdf", b"first")

    ran = chandra("async", "submit", "s3://others/a.pdf")

    assert ran.status == 1
    assert "add its bucket to asynchronous.sources" in ran.out
    assert queue.accepted == []


def test_what_cannot_be_sent_is_in_the_ledger_with_its_code(
    chandra, queue, folder, tmp_path
):
    (folder / "empty.png").touch()
    manifest = tmp_path / "wanted.jsonl"
    uris = ["s3://scans/gone.pdf", "scans/a.pdf", "nowhere/b.pdf"]
    manifest.write_text("\n".join(json.dumps({"document": uri}) for uri in uris))

    submitted = chandra("async", "submit", str(folder / "empty.png"), str(manifest))
    queue.read()
    waited = chandra("async", "wait", "--json")
    fetched = chandra("async", "fetch", "--json")

    assert submitted.status == waited.status == fetched.status == 1
    assert (waited.json["read"], waited.json["waiting"]) == (1, 0)
    assert waited.json["failures"] == {
        "document_not_found": 2, "unreadable_document": 1
    }  # fmt: skip
    error = json.loads((folder / "empty.png.error.json").read_text())
    assert (error["code"], error["detail"]) == ("unreadable_document", "it is empty")
    assert get_error(queue, "scans", "gone.pdf")["code"] == "document_not_found"
    assert not (tmp_path / "nowhere").exists()
    assert {each["outcome"] for each in fetched.json["results"]} == {
        "written", "failed"
    }  # fmt: skip


def get_error(queue, bucket, key):
    return json.loads(get(queue.wire, bucket, f"{key}.error.json"))


def test_what_was_refused_is_looked_at_again_when_it_is_tried_again(
    chandra, queue, folder
):
    empty = folder / "empty.png"
    empty.touch()
    chandra("async", "submit", str(folder))
    chandra("async", "fetch")
    still = chandra("async", "submit", "--retry-failed", "--json")
    empty.write_bytes(PNG + b"filled")

    again = chandra("async", "submit", "--retry-failed", "--json")
    queue.read()
    waited = chandra("async", "wait", "--json")
    chandra("async", "fetch")

    assert (still.status, still.json["submitted"]) == (1, 0)
    assert (again.status, again.json["submitted"]) == (0, 1)
    assert waited.json["failures"] == {"unreadable_document": 1}
    assert (folder / "empty.png.md").read_text() == "# filled\n"
    assert not (folder / "empty.png.error.json").exists()


def test_what_was_read_before_it_went_away_stays_read(chandra, queue, wire):
    put(wire, "scans", "a.pdf", b"first")
    put(wire, "scans", "wanted.jsonl", b'{"document": "s3://scans/a.pdf"}')
    chandra("async", "submit", "s3://scans/wanted.jsonl")
    queue.read()
    wire.call("s3", "delete_object", Bucket="scans", Key="a.pdf")

    again = chandra("async", "submit", "s3://scans/wanted.jsonl")
    waited = chandra("async", "wait", "--json")

    assert again.status == 1
    assert "there is no such object (document_not_found)" in again.out
    assert (waited.json["read"], waited.json["failed"]) == (1, 0)


def test_a_document_that_was_replaced_counts_as_what_it_is_now(chandra, queue, folder):
    chandra("async", "submit", str(folder / "c.pdf"))
    queue.read()
    chandra("async", "wait")
    (folder / "c.pdf").write_bytes(PDF + b"mended")

    chandra("async", "submit", str(folder / "c.pdf"))
    queue.read()
    waited = chandra("async", "wait", "--json")

    assert (waited.status, waited.json["documents"]) == (0, 1)


def test_a_document_that_sagemaker_would_not_take_is_refused(chandra, queue, folder):
    # A sparse file: its gigabyte takes no room on the disk.
    with (folder / "2026" / "b.png").open("r+b") as file:
        file.truncate(MAX_BYTES + 1)

    ran = chandra("async", "submit", str(folder / "2026"), str(folder / "a.pdf"))
    waited = chandra("async", "wait", "--timeout", "1", "--json")

    assert (
        "it has 1,073,741,825 bytes, and SageMaker takes 1,073,741,824 "
        "(document_too_large)" in ran.out
    )
    assert len(queue.accepted) == 1
    assert waited.status == 7


def test_a_busy_endpoint_is_asked_again(chandra, queue, folder, at):
    queue.refusals = ["ThrottlingException"] * 3
    started = at.now

    ran = chandra("async", "submit", str(folder / "a.pdf"))

    assert ran.status == 0, ran.err
    assert len(queue.accepted) == 1
    assert at.now - started == 1 + 2 + 4


def test_where_there_is_no_endpoint_it_stops_and_can_go_on(chandra, queue, folder):
    queue.refusals = ["ValidationError"] * 20

    ran = chandra("async", "submit", str(folder))
    queue.refusals.clear()
    again = chandra("async", "submit", str(folder))

    assert ran.status == 4
    assert "no endpoint ocr-async in service" in ran.err
    assert again.status == 0, again.err
    assert len(queue.accepted) == 3


def test_an_answer_that_never_came_doubles_no_result(chandra, queue, folder, ledger):
    queue.unanswered = 1

    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()
    chandra("async", "fetch")

    assert {q.output for q in queue.accepted} == {queue.accepted[0].output}
    assert states(ledger) == ["done"]
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def sending(ledger, document_key, **changes):
    """As if a process had died in the middle of its call."""
    store = ledger()
    job = store.job(document_key)
    store.save(replace(job, state=State.SENDING, **changes))


def test_killed_in_a_call_that_arrived_it_looks_for_the_answer(
    chandra, queue, folder, ledger
):
    chandra("async", "submit", str(folder / "a.pdf"))
    (job,) = ledger().jobs()
    sending(ledger, job.key, owner="elsewhere/1", since=0.0, output=None, failure=None)
    queue.read()

    ran = chandra("async", "submit", str(folder / "a.pdf"))
    waited = chandra("async", "wait")

    assert ran.status == waited.status == 0, ran.err
    assert len(queue.accepted) == 1


def test_killed_in_a_call_that_arrived_and_failed_it_does_not_pay_again(
    chandra, queue, folder, ledger
):
    chandra("async", "submit", str(folder / "c.pdf"))
    (job,) = ledger().jobs()
    sending(ledger, job.key, owner="elsewhere/1", since=0.0, output=None, failure=None)
    queue.read()

    ran = chandra("async", "submit", str(folder / "c.pdf"))
    waited = chandra("async", "wait", "--json")

    assert ran.status == 0, ran.err
    assert waited.json["failures"] == {"unreadable_document": 1}
    assert len(queue.accepted) == 1


def test_answers_that_an_earlier_ledger_got_are_not_taken_for_new_ones(
    chandra, queue, folder, tmp_path
):
    chandra("async", "submit", str(folder))
    queue.read()
    chandra("async", "wait")
    (tmp_path / "chandra.ledger.db").unlink()

    chandra("async", "submit", str(folder))
    before = chandra("async", "wait", "--timeout", "1")
    queue.read()
    after = chandra("async", "wait", "--json")

    assert before.status == 7
    assert len({queued.output for queued in queue.accepted}) == 6
    assert (after.json["read"], after.json["failed"]) == (2, 1)


def test_killed_in_a_call_that_did_not_arrive_it_sends_again(
    chandra, queue, folder, ledger
):
    chandra("async", "submit", str(folder / "a.pdf"))
    (job,) = ledger().jobs()
    sending(ledger, job.key, owner="elsewhere/1", since=0.0, output=None, failure=None)

    chandra("async", "submit", str(folder / "a.pdf"))

    assert len(queue.accepted) == 2
    assert len({q.output for q in queue.accepted}) == 1


def test_what_another_process_is_sending_is_left_to_it(
    chandra, queue, folder, ledger, at
):
    chandra("async", "submit", str(folder / "a.pdf"))
    (job,) = ledger().jobs()
    sending(ledger, job.key, owner="elsewhere/1", since=at.now)

    first = chandra("async", "submit", str(folder / "a.pdf"), "--json")
    at.now += LEASE_SECONDS + 1
    second = chandra("async", "submit", str(folder / "a.pdf"), "--json")

    assert first.json["elsewhere"] == 1
    assert second.json["submitted"] == 1


def test_a_file_that_changes_while_it_is_sent_is_not_sent_as_what_it_was(
    chandra, queue, folder, ledger, intercept
):
    # S3 is asked for the object between the look at the file and its upload.
    def change_file(params):
        (folder / "a.pdf").write_bytes(b"%PDF-1.7 another")

    intercept("s3", "HeadObject", change_file)

    ran = chandra("async", "submit", str(folder / "a.pdf"))

    assert ran.status == 1
    assert "it changed since it was looked at" in ran.out
    assert queue.accepted == []
    assert states(ledger) == ["new"]


def test_a_dry_run_of_submit_says_how_many_and_sends_nothing(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))

    ran = chandra("async", "submit", str(folder), "--dry-run")

    assert ran.status == 0, ran.err
    assert "would submit 2 documents" in ran.out
    assert "1 are read or in the queue already" in ran.out
    assert len(queue.accepted) == 1


def test_a_document_that_may_not_be_done_in_time_is_said(
    chandra, queue, folder, project
):
    project(EXTRA.format(isolation="true") + "timeout_seconds = 60\n")
    (folder / "long.pdf").write_bytes(pdf([["one"]] * 5))

    ran = chandra("async", "submit", str(folder / "long.pdf"))

    assert ran.status == 0, ran.err
    assert "note: 1 documents have more than 3 pages" in ran.out
    assert "asynchronous.concurrency" in ran.out


def test_a_ledger_in_s3_serves_as_well(chandra, queue, folder, tmp_path):
    where = ["--ledger", "s3://exchange/ledger"]
    chandra("async", "submit", str(folder), *where)
    again = chandra("async", "submit", str(folder), *where, "--json")
    queue.read()
    fetched = chandra("async", "fetch", *where)

    assert again.json["known"] == 3
    assert "wrote 2 results" in fetched.out
    assert not (tmp_path / "chandra.ledger.db").exists()


# Waiting


def test_waiting_shows_documents_pages_and_failures_by_code(chandra, queue, folder, at):
    chandra("async", "submit", str(folder))
    naps = []

    def sleep(seconds):
        at.now += seconds
        naps.append(seconds)
        queue.read(1 if queue.waiting else 0)

    ran = chandra("async", "wait", sleep=sleep)

    assert ran.status == 1
    assert "0 of 3 documents read" in ran.out
    assert "1 failed (unreadable_document 1)" in ran.out
    assert "pages/s" in ran.out
    assert "left" in ran.out
    assert "1 would fail again, with unreadable_document: " in ran.out
    assert "try: repair or replace the file" in ran.out
    assert "--retry-failed" not in ran.out


def test_all_read_is_a_success(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"), str(folder / "2026"))
    queue.read()

    ran = chandra("async", "wait", "--json")

    assert ran.status == 0
    assert ran.json["read"] == 2
    assert ran.json["pages"] == 4
    assert ran.json["waiting"] == 0


def test_waiting_ends_after_its_time_and_the_documents_go_on(chandra, queue, folder):
    chandra("async", "submit", str(folder))

    ran = chandra("async", "wait", "--timeout", "60")

    assert ran.status == 7
    assert "3 documents still wait" in ran.err
    assert "try:   chandra-sagemaker async wait" in ran.err


def test_what_never_gets_an_answer_is_lost_and_said_to_be(
    chandra, queue, folder, ledger, at
):
    chandra("async", "submit", str(folder / "a.pdf"))

    # In steps of an hour, and not of the ten seconds it would sleep.
    ran = chandra("async", "wait", sleep=lambda seconds: at.sleep(3600))

    assert ran.status == 1
    assert "1 failed (lost 1)" in ran.out
    assert states(ledger) == ["failed"]


class DeadLine(Bucket):
    """S3 that cannot be reached the first time it is asked."""

    num_failures = 1

    def below(self, bucket, prefix):
        if self.num_failures:
            self.num_failures -= 1
            raise DeployError("AWS cannot be reached")
        return super().below(bucket, prefix)


def test_a_line_that_was_dead_does_not_end_the_wait(tmp_path, at):
    ledger = SqliteLedger(tmp_path / "ledger.db")
    submitted = job(state=State.SUBMITTED, output="s3://b/out/a", since=at.now)
    ledger.save(submitted)
    ledger.put_place(Place("place", "a.pdf", submitted.source, submitted.key))
    said = io.StringIO()

    progress = Waiting(
        ledger,
        DeadLine({"s3://b/out/a": answer_to(b"first")}),
        TABLE,
        Console(out=said),
        clock=at,
        sleep=at.sleep,
    ).run(timeout_seconds=600)

    ledger.close()
    assert progress.num_read == 1
    assert "AWS cannot be reached; asking again" in said.getvalue()


def test_an_answer_beside_a_failure_is_the_answer(chandra, queue, folder, at):
    chandra("async", "submit", str(folder / "a.pdf"))
    # A call whose answer never came was made twice: one of the two was cut off.
    queue._put(queue.accepted[0].failure, b"no answer in time")
    first = chandra("async", "wait", "--json")
    queue.read()

    second = chandra("async", "wait", "--json")
    chandra("async", "fetch")

    assert first.json["failures"] == {"failed": 1}
    assert (second.status, second.json["failures"]) == (0, {})
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_what_was_given_up_as_lost_is_read_when_it_comes_after_all(
    chandra, queue, folder, at
):
    chandra("async", "submit", str(folder / "a.pdf"))
    lost = chandra("async", "wait", sleep=lambda seconds: at.sleep(3600))
    queue.read()

    found = chandra("async", "wait", "--json")

    assert lost.status == 1
    assert (found.status, found.json["read"]) == (0, 1)


def test_pages_that_failed_are_counted_by_code(chandra, queue, folder, wire):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue._put(queue.accepted[0].output, answer_to(b"first", failed=(2,)))

    ran = chandra("async", "wait", "--json")

    assert ran.json["pages"] == 1
    assert ran.json["page_failures"] == {"out_of_memory": 1}


# Trying again


def test_only_what_failed_is_tried_again_and_its_answer_has_a_place_of_its_own(
    chandra, queue, folder
):
    (folder / "c.pdf").write_bytes(PDF + DYING)
    chandra("async", "submit", str(folder))
    queue.read()
    chandra("async", "wait")
    left = chandra("async", "submit", str(folder))

    again = chandra("async", "submit", "--retry-failed")

    assert "1 failed earlier with a transient error: add --retry-failed" in left.out
    assert again.status == 0, again.err
    assert len(queue.accepted) == 4
    first, second = (
        q for q in queue.accepted if q.headers["filename"]
        == queue.accepted[-1].headers["filename"]
    )  # fmt: skip
    assert first.output != second.output
    assert chandra("async", "wait", "--timeout", "1").status == 7


def read_in_part(queue, code="engine_failed"):
    """The document that waits, without its second page."""
    body = json.loads(answer_to(b"first", failed=(2,)))
    body["pages"][1]["error"]["code"] = code
    queue._put(queue.waiting.pop().output, json.dumps(body).encode())


def test_a_document_read_in_part_for_what_may_pass_is_read_again(
    chandra, queue, folder
):
    chandra("async", "submit", str(folder / "a.pdf"))
    read_in_part(queue)
    in_part = chandra("async", "wait")

    again = chandra("async", "submit", "--retry-failed", "--json")
    queue.read()
    whole = chandra("async", "wait", "--json")
    chandra("async", "fetch")

    assert "1 were read in part, after a transient error" in in_part.out
    assert "async submit --retry-failed" in in_part.out
    assert again.json["submitted"] == 1
    assert (whole.json["pages"], whole.json["in_part"]) == (2, 0)
    assert not (folder / "a.pdf.error.json").exists()


def test_a_result_that_cannot_be_written_keeps_nobody_from_the_others(
    chandra, queue, folder
):
    # With .md behind it, longer than a file system takes.
    long = folder / f"{'x' * 250}.pdf"
    long.write_bytes(PDF + b"another")
    chandra("async", "submit", str(long), str(folder / "a.pdf"))
    queue.read()

    ran = chandra("async", "fetch")

    assert ran.status == 1
    assert f"not written: {long}.md: File name too long" in ran.out
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_of_two_called_alike_that_were_sent_one_after_the_other_both_are_written(
    chandra, queue, folder, tmp_path
):
    (folder / "2026" / "a.pdf").write_bytes(PDF + b"another")
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()
    chandra("async", "fetch", "--into", str(tmp_path / "out"))
    chandra("async", "submit", str(folder / "2026" / "a.pdf"))
    queue.read()

    ran = chandra("async", "fetch", "--into", str(tmp_path / "out"))
    again = chandra("async", "fetch", "--into", str(tmp_path / "out"), "--json").json

    assert ran.status == 0, ran.out
    first, second = sorted((tmp_path / "out").iterdir())
    assert (first.name, first.read_text()) == ("a.pdf.md", "# first\n")
    assert (second.name[:2], second.read_text()) == ("a~", "# another\n")
    assert again["outcomes"] == {"unchanged": 2}


def test_one_file_asked_for_in_two_ways_has_both_answers(chandra, queue, folder):
    one = str(folder / "a.pdf")
    chandra("async", "submit", one)
    queue.read()
    chandra("async", "fetch")
    chandra("async", "submit", one, "--max-output-tokens", "9")
    queue._put(queue.waiting.pop().output, answer_to(b"short"))

    ran = chandra("async", "fetch")

    assert ran.status == 0, ran.out
    results = sorted(folder.glob("a*.md"))
    assert [each.read_text() for each in results] == ["# first\n", "# short\n"]
    assert results[0].name == "a.pdf.md"


def test_a_folder_without_documents_is_no_silent_success(chandra, queue, tmp_path):
    (tmp_path / "empty").mkdir()

    ran = chandra("async", "submit", str(tmp_path / "empty"))

    assert ran.status == 0, ran.err
    assert f"{tmp_path / 'empty'}: there is no document in it" in ran.out


def test_a_file_whose_name_is_no_text_is_read_and_fetched_into_s3(
    chandra, queue, wire, folder
):
    odd = folder / os.fsdecode(b"no\xfftext.pdf")
    odd.write_bytes(PDF + BROKEN)
    chandra("async", "submit", str(odd))
    queue.read()

    beside = chandra("async", "fetch")
    far = chandra("async", "fetch", "--into", "s3://exchange/results")

    assert (beside.status, far.status) == (1, 1), beside.err + far.err
    assert "no\\udcfftext.pdf" in beside.out
    wire.call(
        "s3",
        "head_object",
        Bucket="exchange",
        Key="results/no\ufffdtext.pdf.error.json",
    )


def test_who_fetches_is_told_which_pages_are_missing(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    read_in_part(queue, "deadline_exceeded")

    ran = chandra("async", "fetch")
    again = chandra("async", "fetch", "--json").json

    assert ran.status == 0, ran.err
    target = str(folder / "a.pdf.md")
    assert f"in part: {target} lacks page 2 (deadline_exceeded)" in ran.out
    assert again["results"][0]["missing_pages"] == {"2": "deadline_exceeded"}


def test_markdown_alone_also_says_which_pages_are_missing(chandra, queue, folder):
    """As the service leaves a comment where one would be; not a byte of it changes."""
    body = b"# first\n\n<!-- page 2: engine_failed: it died twice -->\n"
    whole = b"# first\n\n# second\n"
    chandra("async", "submit", str(folder / "a.pdf"), "--format", "md")
    queue._put(queue.waiting.pop().output, body)

    waited = chandra("async", "wait", "--json").json
    ran = chandra("async", "fetch")
    there = (folder / "a.pdf.md").read_bytes()
    said = json.loads((folder / "a.pdf.error.json").read_text())
    again = chandra("async", "submit", "--retry-failed", "--json").json
    queue._put(queue.waiting.pop().output, whole)
    after = chandra("async", "fetch")

    assert (waited["pages_failed"], waited["in_part"]) == (1, 1)
    assert "lacks page 2 (engine_failed)" in ran.out
    assert there == body
    assert said["pages"] == [
        {"page": 2, "code": "engine_failed", "detail": "it died twice"}
    ]
    assert again["submitted"] == 1
    assert "in part" not in after.out
    assert (folder / "a.pdf.md").read_bytes() == whole
    assert not (folder / "a.pdf.error.json").exists()


def test_markdown_that_lacks_fewer_pages_stays(chandra, queue, folder):
    body = b"# first\n\n<!-- page 2: engine_failed: it died twice -->\n"
    worse = body + b"\n<!-- page 3: engine_failed: it died twice -->\n"
    chandra("async", "submit", str(folder / "a.pdf"), "--format", "md")
    queue._put(queue.waiting.pop().output, body)
    chandra("async", "wait")
    chandra("async", "submit", "--retry-failed")
    queue._put(queue.waiting.pop().output, worse)

    chandra("async", "fetch")

    assert (folder / "a.pdf.md").read_bytes() == body


@pytest.mark.parametrize("code", ["unreadable_document", "deadline_exceeded"])
def test_pages_that_would_fail_again_are_not_read_again(chandra, queue, folder, code):
    chandra("async", "submit", str(folder / "a.pdf"))
    read_in_part(queue, code)
    chandra("async", "wait")

    again = chandra(
        "async", "submit", str(folder / "a.pdf"), "--retry-failed", "--json"
    )

    assert (again.json["submitted"], again.json["known"]) == (0, 1)


def test_a_page_that_always_kills_the_engine_ends_being_read_again(
    chandra, queue, folder
):
    chandra("async", "submit", str(folder / "a.pdf"))
    counts = []
    for _ in range(4):
        while queue.waiting:
            read_in_part(queue)
        chandra("async", "wait")
        ran = chandra("async", "submit", "--retry-failed", "--json")
        counts.append(ran.json["submitted"])

    assert counts == [1, 1, 0, 0]


@pytest.mark.parametrize("is_refused", [True, False])
def test_what_was_read_stays_where_another_reading_is_worse(
    chandra, queue, folder, is_refused
):
    chandra("async", "submit", str(folder / "a.pdf"))
    read_in_part(queue)
    chandra("async", "wait")
    chandra("async", "submit", "--retry-failed")
    queued = queue.waiting.pop()
    if is_refused:
        queue._put(queued.failure, b'{"code": "engine_failed", "detail": "died"}')
    else:
        queue._put(queued.output, answer_to(b"worse", failed=(1, 2)))

    ran = chandra("async", "wait", "--json")
    chandra("async", "fetch")

    assert (ran.status, ran.json["pages"]) == (0, 1)
    assert ran.json["page_failures"] == {"engine_failed": 1}
    assert (folder / "a.pdf.md").read_text().startswith("# first\n")


def test_trying_again_goes_on_where_it_was_interrupted(chandra, queue, folder):
    (folder / "c.pdf").write_bytes(PDF + DYING)
    chandra("async", "submit", str(folder))
    queue.read()
    chandra("async", "wait")
    queue.refusals = ["ValidationError"]
    broken_off = chandra("async", "submit", "--retry-failed")

    again = chandra("async", "submit", "--retry-failed", "--json")

    assert broken_off.status == 4
    assert again.json["submitted"] == 1


def test_to_submit_nothing_is_refused(chandra, queue):
    ran = chandra("async", "submit")

    assert ran.status == 2
    assert "nothing was named" in ran.err


# Fetching


def test_results_lie_beside_their_documents(chandra, queue, folder):
    chandra("async", "submit", str(folder))
    queue.read()

    ran = chandra("async", "fetch")

    assert ran.status == 1
    assert (folder / "a.pdf.md").read_text() == "# first\n"
    assert (folder / "2026" / "b.png.md").read_text() == "# second\n"
    error = json.loads((folder / "c.pdf.error.json").read_text())
    assert error["code"] == "unreadable_document"
    assert error["document"] == str(folder / "c.pdf")
    assert "failed: " in ran.out


@pytest.mark.parametrize("wanted", ["md", "html", "json"])
def test_json_becomes_every_format(chandra, queue, folder, wanted):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()

    ran = chandra("async", "fetch", "--format", wanted)

    text = (folder / f"a.pdf.{wanted}").read_text()
    assert ran.status == 0, ran.err
    assert {"md": "# first", "html": "<p>first 2</p>", "json": '"pages"'}[
        wanted
    ] in text


def test_markdown_does_not_become_json(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"), "--format", "md")
    queue._put(queue.accepted[0].output, b"# first")

    json_ = chandra("async", "fetch", "--format", "json")
    md = chandra("async", "fetch")

    assert json_.status == 1
    assert "does not become json" in json_.out
    assert md.status == 0
    assert (folder / "a.pdf.md").read_text() == "# first"


def test_a_bucket_of_documents_becomes_a_bucket_of_markdown(chandra, queue, wire):
    put(wire, "scans", "2026/a.pdf", b"first")
    put(wire, "scans", "2026/deep/b.png", b"second")
    chandra("async", "submit", "s3://scans/2026/")
    queue.read()

    beside = chandra("async", "fetch")
    into = chandra("async", "fetch", "--into", "s3://others/read")
    again = chandra("async", "submit", "s3://scans/2026/", "--json")

    assert beside.status == into.status == 0, beside.err + into.err
    assert get(wire, "scans", "2026/a.pdf.md") == b"# first\n"
    assert get(wire, "others", "read/deep/b.png.md") == b"# second\n"
    assert again.json["known"] == 2
    assert again.json["refused"] == {}


def test_into_a_folder_names_are_kept(chandra, queue, folder, tmp_path):
    chandra("async", "submit", str(folder))
    queue.read()

    chandra("async", "fetch", "--into", str(tmp_path / "out"))

    found = sorted(
        str(p.relative_to(tmp_path / "out"))
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    )
    assert found == ["2026/b.png.md", "a.pdf.md", "c.pdf.error.json"]


def test_a_file_that_is_not_ours_stays_until_it_is_forced(chandra, queue, folder):
    (folder / "a.pdf.md").write_text("my notes")
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()

    kept = chandra("async", "fetch")
    there = (folder / "a.pdf.md").read_text()
    forced = chandra("async", "fetch", "--force")

    assert kept.status == 1
    assert "not ours: " in kept.out
    assert there == "my notes"
    assert forced.status == 0
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_an_object_that_is_not_ours_stays_too(chandra, queue, wire):
    put(wire, "scans", "a.pdf", b"first")
    put(wire, "scans", "a.pdf.md", b"my notes")
    chandra("async", "submit", "s3://scans/a.pdf")
    queue.read()

    kept = chandra("async", "fetch")
    there = get(wire, "scans", "a.pdf.md")
    chandra("async", "fetch", "--force")

    assert kept.status == 1
    assert there == b"my notes"
    assert get(wire, "scans", "a.pdf.md") == b"# first\n"


def test_fetched_twice_nothing_is_written_again(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()
    chandra("async", "fetch")
    before = (folder / "a.pdf.md").stat().st_mtime_ns

    again = chandra("async", "fetch")

    assert "wrote 0 results; 1 were there already" in again.out
    assert (folder / "a.pdf.md").stat().st_mtime_ns == before


def test_a_result_that_somebody_changed_is_no_longer_ours(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()
    chandra("async", "fetch")
    (folder / "a.pdf.md").write_text("# corrected")

    again = chandra("async", "fetch")

    assert again.status == 1
    assert (folder / "a.pdf.md").read_text() == "# corrected"


def test_an_error_goes_when_the_document_is_read_after_all(chandra, queue, folder):
    (folder / "c.pdf").write_bytes(PDF + DYING)
    chandra("async", "submit", str(folder / "c.pdf"))
    queue.read()
    chandra("async", "fetch")
    assert (folder / "c.pdf.error.json").exists()
    chandra("async", "submit", "--retry-failed")
    queue._put(queue.waiting.pop().output, answer_to(b"at last"))

    chandra("async", "fetch")

    assert (folder / "c.pdf.md").read_text() == "# at last\n"
    assert not (folder / "c.pdf.error.json").exists()


def test_pages_that_failed_are_listed_beside_those_that_were_read(
    chandra, queue, folder
):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue._put(queue.accepted[0].output, answer_to(b"first", failed=(2,)))

    ran = chandra("async", "fetch")

    assert ran.status == 0
    assert (folder / "a.pdf.md").exists()
    (page,) = json.loads((folder / "a.pdf.error.json").read_text())["pages"]
    assert page == {"page": 2, "code": "out_of_memory", "detail": "too large"}


def test_parts_of_one_document_do_not_write_over_each_other(chandra, queue, wire):
    put(wire, "scans", "a.pdf", b"first")
    for pages in ("1-5", "6-9"):
        chandra("async", "submit", "s3://scans/a.pdf", "--pages", pages)
    queue.read()

    ran = chandra("async", "fetch")

    assert ran.status == 0, ran.out
    assert get(wire, "scans", "a.pages-1-5.pdf.md") == b"# first\n"
    assert get(wire, "scans", "a.pages-6-9.pdf.md") == b"# first\n"


def test_an_answer_that_was_deleted_is_said_to_be_gone_and_can_be_read_again(
    chandra, queue, folder, wire, ledger
):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.read()
    chandra("async", "wait")
    bucket, key = queue.accepted[0].output[5:].split("/", 1)
    wire.call("s3", "delete_object", Bucket=bucket, Key=key)

    gone = chandra("async", "fetch")
    chandra("async", "submit", "--retry-failed")
    queue.read()
    fetched = chandra("async", "fetch")

    assert gone.status == 1
    assert "gone: " in gone.out
    assert fetched.status == 0, fetched.out
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_a_dry_run_of_fetch_writes_nothing(chandra, queue, folder):
    chandra("async", "submit", str(folder))
    queue.read()
    chandra("async", "wait")

    ran = chandra("async", "fetch", "--dry-run")

    assert ran.status == 0
    assert "would write 2 results" in ran.out
    assert not list(folder.rglob("*.md"))


@pytest.mark.parametrize("command", ["wait", "fetch"])
def test_without_a_ledger_there_is_nothing_to_speak_of(chandra, queue, command):
    ran = chandra("async", command)

    assert ran.status == 4
    assert "there is no ledger" in ran.err


# Requests


def job(**changes):
    document = Document(
        name="a.pdf",
        source="s3://scans/a.pdf",
        media_type="application/pdf",
        size=7,
        content="c0ffee",
    )
    return replace(Job.of(document, "run", 0.0), **changes)


TABLE = configured(asynchronous={"bucket": "exchange"}).asynchronous


@pytest.mark.parametrize(
    ("changes", "reads_itself", "expected"),
    [
        ({}, False, "InputLocation"),
        ({}, True, "InputLocation"),
        ({"options": {"pages": "1"}}, False, "InputLocation"),
        ({"options": {"pages": "1"}}, True, "Body"),
        ({"options": {"pages": "1"}, "source": "/a.pdf"}, True, "InputLocation"),
        ({"size": 200 << 20}, False, "InputLocation"),
        ({"size": 200 << 20, "source": "/a.pdf"}, True, "Body"),
    ],
)
def test_a_request_holds_an_address_or_is_one(changes, reads_itself, expected):
    request = request_of(
        job(**changes), "s3://b/a.pdf", TABLE, reads_itself=reads_itself
    )

    assert {"Body", "InputLocation"} & {*request} == {expected}


def test_a_request_is_valid(service_model):
    from deploy.aws.validation import violations

    shape = (
        service_model("sagemaker-runtime")
        .operation_model("InvokeEndpointAsync")
        .input_shape
    )
    for options in ({}, {"pages": "1-3,7", "include_images": True}):
        for reads_itself in (True, False):
            request = request_of(
                job(options=options, attempt=12),
                "s3://scans/a b.pdf",
                TABLE,
                reads_itself=reads_itself,
            )
            found = list(violations(shape, {**request, "EndpointName": "ocr-async"}))
            assert found == []


def test_a_key_that_no_header_carries_is_read_by_the_container_or_refused():
    uri = "s3://scans/r\u00e9sum\u00e9.pdf"

    request = request_of(job(), uri, TABLE, reads_itself=True)

    assert json.loads(request["Body"]) == {"s3_uri": uri}
    with pytest.raises(ValueError, match="takes no such key"):
        request_of(job(), uri, TABLE, reads_itself=False)


@pytest.mark.parametrize(
    ("uri", "options", "words"),
    [
        (f"s3://scans/{'k' * 1020}.pdf", {}, "takes no such key"),
        ("s3://scans/a.pdf ", {}, "takes no such key"),
        (
            "s3://scans/a.pdf",
            {"pages": ",".join(map(str, range(1, 700, 2)))},
            "its options have 1,",
        ),
    ],
)
def test_what_has_no_room_in_a_header_is_read_by_the_container_or_refused(
    uri, options, words
):
    asked = job(options=options, source="/a.pdf")

    request = request_of(asked, uri, TABLE, reads_itself=True)

    assert json.loads(request["Body"]) == {"s3_uri": uri, **options}
    with pytest.raises(ValueError, match=words):
        request_of(asked, uri, TABLE, reads_itself=False)


def test_many_pages_have_a_short_name(chandra, queue, folder):
    pages = ",".join(map(str, range(1, 300, 2)))
    chandra("async", "submit", str(folder / "a.pdf"), "--pages", pages)
    queue.read()

    ran = chandra("async", "fetch")

    assert ran.status == 0, ran.out
    (result,) = folder.glob("a.pages-*.pdf.md")
    assert result.name.startswith("a.pages-1,3,5,")
    assert len(result.name) < 100
