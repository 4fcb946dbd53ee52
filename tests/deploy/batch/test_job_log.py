"""Failures and page counts that are read from the log of a batch job."""

from __future__ import annotations

import pytest

from tests.deploy.batch.transformer import (
    START_COMMAND,
    list_keys,
)


def test_failures_are_reported_with_codes(chandra, upload_document, wire):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"broken")
    upload_document("scans/c.pdf", b"endless")

    result = chandra(*START_COMMAND)

    assert result.status == 1
    assert list_keys(wire) == ["md/a.pdf.out"]
    assert "1 of 3 documents read" in result.out
    assert "1 failed with unreadable_document: it is broken\n  b.pdf" in result.out
    assert "1 failed with document_too_large: it is endless\n  c.pdf" in result.out
    assert "1 would fail again, with unreadable_document: b.pdf" in result.out
    assert "try: split it, or ask for fewer pages" in result.out
    assert "next: chandra-sagemaker transform retry" not in result.out
    assert "failed 2 (document_too_large 1, unreadable_document 1)" in result.out


def test_status_logged_with_one_code_implies_that_code(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"broken")
    cloud.transformed.logs_bodies = False

    result = chandra(*START_COMMAND)

    assert "1 failed with unreadable_document: status 422, which always" in result.out


def test_failure_without_log_line_is_unknown(chandra, upload_document, cloud, wire):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"broken")
    cloud.transformed.logs_nothing = True

    result = chandra(*START_COMMAND)

    assert result.status == 1
    assert "1 failed with unknown: the log does not mention this document" in result.out
    assert "SageMaker reports: AlgorithmError" in result.out


@pytest.fixture
def run_job_and_wait(chandra, upload_document, cloud, at):
    """Return a function that runs a job.

    It returns the result of the command, and how many seconds the command waited after
    the end of the job.
    """
    cloud.clock = at

    def run():
        upload_document("scans/a.pdf")
        result = chandra(*START_COMMAND)
        (job,) = cloud.jobs.values()
        return result, at.now - job.ended

    return run


def test_complete_log_is_not_awaited(run_job_and_wait):
    result, seconds = run_job_and_wait()

    assert seconds == 0
    assert "note:" not in result.out


def test_empty_log_is_awaited_for_a_minute(run_job_and_wait, cloud):
    cloud.transformed.logs_nothing = True

    result, seconds = run_job_and_wait()

    assert result.status == 0, result.err
    assert seconds == 60
    assert (
        "note: the job's log has no lines, or they are late: the number" in result.out
    )
    assert "pages read" not in result.out


def test_log_is_awaited_for_a_minute_if_aws_is_ahead(
    chandra, upload_document, cloud, at
):
    cloud.clock = lambda: at() + 600
    cloud.transformed.logs_nothing = True
    upload_document("scans/a.pdf")

    chandra(*START_COMMAND)

    (job,) = cloud.jobs.values()
    assert at() - (job.ended - 600) == 60


def test_incomplete_log_is_awaited_for_15_seconds(run_job_and_wait, cloud):
    cloud.transformed.logs_requests = False

    result, seconds = run_job_and_wait()

    assert seconds == 15
    assert "note: the job's log covers 0 of 1 documents that were read" in result.out


def test_forbidden_log_is_not_awaited(run_job_and_wait, cloud):
    cloud.forbidden = {"logs:FilterLogEvents"}

    result, seconds = run_job_and_wait()

    assert (result.status, seconds) == (0, 0)
    assert "note: the job's log cannot be read: the number of pages" in result.out
    assert "logs:FilterLogEvents" in result.out


def test_documents_of_later_job_need_no_line_in_earlier_log(
    chandra, upload_document, cloud
):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"broken")
    chandra(*START_COMMAND)
    (first_job,) = cloud.jobs
    upload_document("scans/b.pdf", b"mended")
    cloud.jobs[first_job].ended -= 3600
    chandra("transform", "retry", first_job)

    status = chandra("transform", "status", first_job, "--json").json

    assert (status["read"], status["untold"]) == (2, None)


def test_log_of_old_job_is_not_awaited(run_job_and_wait, chandra, cloud, at):
    cloud.transformed.logs_nothing = True
    run_job_and_wait()
    (name,) = cloud.jobs
    at.sleep(3600)
    before = at.now

    status = chandra("transform", "status", name, "--json").json

    assert at.now == before
    assert "has no lines" in status["untold"]
