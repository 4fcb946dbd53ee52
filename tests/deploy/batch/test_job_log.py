"""Failures and page counts that are read from the log of a batch job."""

from __future__ import annotations

import pytest

from tests.deploy.batch.transformer import (
    RUN,
    keys,
)


def test_failures_are_reported_with_codes(chandra, put, wire):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    put("scans/c.pdf", b"endless")

    ran = chandra(*RUN)

    assert ran.status == 1
    assert keys(wire) == ["md/a.pdf.out"]
    assert "1 of 3 documents read" in ran.out
    assert "1 failed with unreadable_document: it is broken\n  b.pdf" in ran.out
    assert "1 failed with document_too_large: it is endless\n  c.pdf" in ran.out
    assert "1 would fail again, with unreadable_document: b.pdf" in ran.out
    assert "try: split it, or ask for fewer pages" in ran.out
    assert "next: chandra-sagemaker transform retry" not in ran.out
    assert "failed 2 (document_too_large 1, unreadable_document 1)" in ran.out


def test_status_logged_with_one_code_implies_that_code(chandra, put, cloud):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    cloud.transformed.says_bodies = False

    ran = chandra(*RUN)

    assert "1 failed with unreadable_document: status 422, which had only" in ran.out


def test_failure_without_log_line_is_unknown(chandra, put, cloud, wire):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    cloud.transformed.is_silent = True

    ran = chandra(*RUN)

    assert ran.status == 1
    assert "1 failed with unknown: the log does not name it" in ran.out
    assert "SageMaker reports: AlgorithmError" in ran.out


@pytest.fixture
def ended(chandra, put, cloud, at):
    """Return a function that runs a job and tells how long it waited after the end."""
    cloud.clock = at

    def run():
        put("scans/a.pdf")
        ran = chandra(*RUN)
        (job,) = cloud.jobs.values()
        return ran, at.now - job.ended

    return run


def test_complete_log_is_not_awaited(ended):
    ran, seconds = ended()

    assert seconds == 0
    assert "note:" not in ran.out


def test_empty_log_is_awaited_for_a_minute(ended, cloud):
    cloud.transformed.is_silent = True

    ran, seconds = ended()

    assert ran.status == 0, ran.err
    assert seconds == 60
    assert "note: the job's log has no line, late or for ever: how many" in ran.out
    assert "pages read" not in ran.out


def test_incomplete_log_is_awaited_for_15_seconds(ended, cloud):
    cloud.transformed.says_requests = False

    ran, seconds = ended()

    assert seconds == 15
    assert "note: the job's log tells of 0 of 1 documents that were read" in ran.out


def test_forbidden_log_is_not_awaited(ended, cloud):
    cloud.forbidden = {"logs:FilterLogEvents"}

    ran, seconds = ended()

    assert (ran.status, seconds) == (0, 0)
    assert "note: the job's log may not be read: how many pages" in ran.out
    assert "logs:FilterLogEvents" in ran.out


def test_documents_of_later_job_need_no_line_in_earlier_log(chandra, put, cloud):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    chandra(*RUN)
    (first,) = cloud.jobs
    put("scans/b.pdf", b"mended")
    cloud.jobs[first].ended -= 3600
    chandra("transform", "retry", first)

    shown = chandra("transform", "status", first, "--json").json

    assert (shown["read"], shown["untold"]) == (2, None)


def test_log_of_old_job_is_not_awaited(ended, chandra, cloud, at):
    cloud.transformed.is_silent = True
    ended()
    (name,) = cloud.jobs
    at.sleep(3600)
    before = at.now

    shown = chandra("transform", "status", name, "--json").json

    assert at.now == before
    assert "has no line" in shown["untold"]
