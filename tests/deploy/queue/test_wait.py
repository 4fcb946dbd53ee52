"""Waiting for the documents in a queue."""

from __future__ import annotations

import io

from deploy.console import Console
from deploy.errors import TransientError
from deploy.queue.job import Place, State
from deploy.queue.ledger import SqliteLedger
from deploy.queue.wait import QueueWaiter
from tests.deploy.queue.queued import (
    TABLE,
    build_job,
    build_result,
    read_states,
)
from tests.deploy.weights.fake_s3 import FakeS3


def test_waiting_shows_documents_pages_and_failures_by_code(chandra, queue, folder, at):
    chandra("async", "submit", str(folder))
    sleeps = []

    def sleep(seconds):
        at.now += seconds
        sleeps.append(seconds)
        queue.process_waiting(1 if queue.waiting else 0)

    result = chandra("async", "wait", sleep=sleep)

    assert result.status == 1
    assert "0 of 3 documents read" in result.out
    assert "1 failed (unreadable_document 1)" in result.out
    assert "pages/s" in result.out
    assert "left" in result.out
    assert "1 would fail again, with unreadable_document: " in result.out
    assert "try: repair or replace the file" in result.out
    assert "--retry-failed" not in result.out


def test_wait_succeeds_if_all_documents_are_read(chandra, queue, folder):
    chandra("async", "submit", str(folder / "a.pdf"), str(folder / "2026"))
    queue.process_waiting()

    result = chandra("async", "wait", "--json")

    assert result.status == 0
    assert result.json["read"] == 2
    assert result.json["pages"] == 4
    assert result.json["waiting"] == 0


def test_timeout_ends_wait_only(chandra, queue, folder):
    chandra("async", "submit", str(folder))

    result = chandra("async", "wait", "--timeout", "60")

    assert result.status == 7
    assert "3 documents still wait" in result.err
    assert "try:   chandra-sagemaker async wait" in result.err


def test_document_without_answer_is_lost(chandra, queue, folder, ledger, at):
    chandra("async", "submit", str(folder / "a.pdf"))

    # In steps of an hour, and not of the ten seconds it would sleep.
    result = chandra("async", "wait", sleep=lambda seconds: at.sleep(3600))

    assert result.status == 1
    assert "1 failed (lost 1)" in result.out
    assert read_states(ledger) == ["failed"]


class FlakyBucket(FakeS3):
    """Objects of S3 that cannot be reached at the first request."""

    num_failures = 1

    def list_objects(self, bucket, prefix):
        if self.num_failures:
            self.num_failures -= 1
            raise TransientError("AWS cannot be reached")
        return super().list_objects(bucket, prefix)


def test_connection_failure_does_not_end_wait(tmp_path, at):
    ledger = SqliteLedger(tmp_path / "ledger.db")
    submitted = build_job(state=State.SUBMITTED, output="s3://b/out/a", since=at.now)
    ledger.save(submitted)
    ledger.save_place(Place("place", "a.pdf", submitted.source, submitted.key))
    reported = io.StringIO()

    progress = QueueWaiter(
        ledger,
        FlakyBucket({"s3://b/out/a": build_result(b"first")}),
        TABLE,
        Console(out=reported),
        clock=at,
        sleep=at.sleep,
    ).run(timeout_seconds=600)

    ledger.close()
    assert progress.num_read == 1
    assert "AWS cannot be reached; retrying" in reported.getvalue()


def test_result_beside_failure_counts(chandra, queue, folder, at):
    chandra("async", "submit", str(folder / "a.pdf"))
    # A call whose answer never came was made twice: one of the two was cut off.
    queue.write(queue.accepted[0].failure, b"no answer in time")
    first = chandra("async", "wait", "--json")
    queue.process_waiting()

    second = chandra("async", "wait", "--json")
    chandra("async", "fetch")

    assert first.json["failures"] == {"failed": 1}
    assert (second.status, second.json["failures"]) == (0, {})
    assert (folder / "a.pdf.md").read_text() == "# first\n"


def test_late_result_of_lost_document_counts(chandra, queue, folder, at):
    chandra("async", "submit", str(folder / "a.pdf"))
    lost = chandra("async", "wait", sleep=lambda seconds: at.sleep(3600))
    queue.process_waiting()

    status = chandra("async", "wait", "--json")

    assert lost.status == 1
    assert (status.status, status.json["read"]) == (0, 1)


def test_failed_pages_are_counted_by_code(chandra, queue, folder, wire):
    chandra("async", "submit", str(folder / "a.pdf"))
    queue.write(queue.accepted[0].output, build_result(b"first", failed=(2,)))

    result = chandra("async", "wait", "--json")

    assert result.json["pages"] == 1
    assert result.json["page_failures"] == {"out_of_memory": 1}
