"""Batch jobs over documents that an earlier job has read in part."""

from __future__ import annotations

import pytest

from tests.deploy.batch.transformer import (
    START_COMMAND,
    get_last_job_request,
    list_keys,
)
from tests.deploy.contents import PDF, beginning


def test_only_failed_documents_are_retried(chandra, upload_document, wire, cloud):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"broken")
    chandra(*START_COMMAND)
    (first_job,) = cloud.jobs
    upload_document("scans/b.pdf", b"mended")
    cloud.transformed.sent.clear()

    command = chandra("transform", "retry", first_job)

    assert command.status == 0, command.err
    assert cloud.transformed.sent == [("b.pdf", PDF + b"mended")]
    assert list_keys(wire) == ["md/a.pdf.out", "md/b.pdf.out"]
    assert chandra("transform", "retry", first_job).out == (
        f"every document of transform job {first_job} has its result\n"
    )
    assert chandra("transform", "status", first_job).status == 0


@pytest.mark.parametrize("kind", ["objects", "files"])
def test_documents_lacking_pages_transiently_are_retried(
    chandra, upload_document, wire, cloud, tmp_path, kind
):
    bodies = {"a.pdf": b"fine", "b.pdf": b"partly", "c.pdf": b"also fine"}
    for name, body in bodies.items():
        upload_document(f"scans/{name}", body)
        (tmp_path / "scans").mkdir(exist_ok=True)
        (tmp_path / "scans" / name).write_bytes(beginning(name) + body)
    source = "s3://inbox/scans/" if kind == "objects" else str(tmp_path / "scans")
    result = chandra("transform", "start", source, "s3://results/md")
    (first_job,) = cloud.jobs
    cloud.transformed.sent.clear()

    second_result = chandra("transform", "retry", first_job)

    assert result.status == second_result.status == 0, result.err + second_result.err
    assert "in part: b.pdf lacks page 2 (engine_failed)" in result.out
    assert "1 lack pages after a transient error: b.pdf" in result.out
    assert f"next: chandra-sagemaker transform retry {first_job}" in result.out
    assert [body for _, body in cloud.transformed.sent] == [PDF + b"partly"]


def test_permanently_missing_pages_are_not_retried(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"cut off")
    result = chandra(*START_COMMAND)
    (first_job,) = cloud.jobs

    status = chandra("transform", "status", first_job, "--json").json
    second_result = chandra("transform", "retry", first_job)

    assert "in part: b.pdf lacks page 2 (deadline_exceeded)" in result.out
    assert status["missing_pages"] == {"b.pdf": {"2": "deadline_exceeded"}}
    assert status["in_part"] == []
    assert "every document" in second_result.out


def test_results_in_another_format_are_refused(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    chandra(*START_COMMAND)

    refused_result = chandra(*START_COMMAND, "--format", "json")
    forced_result = chandra(*START_COMMAND, "--format", "json", "--force")

    assert refused_result.status == 2
    assert "the results in s3://results/md/ are text/markdown" in refused_result.err
    assert "another OUTPUT, or --force" in refused_result.err
    assert forced_result.status == 0, forced_result.err
    assert (
        get_last_job_request(cloud)["TransformOutput"]["Accept"] == "application/json"
    )


def test_repeated_command_shows_result_without_new_job(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"broken")
    first = chandra(*START_COMMAND)
    cloud.calls.clear()

    second_result = chandra(*START_COMMAND)

    assert (first.status, second_result.status) == (1, 1)
    assert (
        "has read these documents already; --force reads them again"
        in second_result.out
    )
    assert "1 failed with unreadable_document" in second_result.out
    assert cloud.changes == []


def test_documents_with_result_are_not_read_again(
    chandra, upload_document, cloud, wire
):
    upload_document("scans/a.pdf")
    chandra(*START_COMMAND)
    upload_document("scans/b.pdf")
    cloud.transformed.sent.clear()

    command = chandra(*START_COMMAND)

    assert command.status == 0, command.err
    assert "1 of 2 documents have their result in s3://results/md/" in command.out
    assert [key for key, _ in cloud.transformed.sent] == ["b.pdf"]


def test_force_reads_everything_again(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    chandra(*START_COMMAND)
    cloud.transformed.sent.clear()

    result = chandra(*START_COMMAND, "--force")

    assert result.status == 0, result.err
    assert len(cloud.jobs) == 2
    assert [key for key, _ in cloud.transformed.sent] == ["a.pdf"]


def test_complete_results_start_no_job(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    upload_document("md/a.pdf.out", bucket="results")

    result = chandra(*START_COMMAND)

    assert result.status == 0
    assert "no document is left to read, so no job was started" in result.out
    assert cloud.jobs == {}


def test_same_command_joins_running_job(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    chandra(*START_COMMAND, "--no-wait")

    result = chandra(*START_COMMAND)

    assert result.status == 0, result.err
    assert "is already reading these documents" in result.out
    assert len(cloud.jobs) == 1


def test_job_is_continued_with_the_rest_once_it_has_stopped(
    chandra, upload_document, cloud, wire
):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf")
    chandra(*START_COMMAND, "--no-wait")
    (first_job,) = cloud.jobs
    upload_document("md/a.pdf.out", bucket="results")

    stop_result = chandra("transform", "stop", first_job)
    early_result = chandra(*START_COMMAND)
    wait_result = chandra("transform", "wait", first_job)
    second_result = chandra(*START_COMMAND)

    assert stop_result.status == 0, stop_result.err
    assert "results written before stay in s3://results/md/" in stop_result.out
    assert early_result.status == 5
    assert wait_result.status == 1
    assert "was stopped: 1 of 2 documents read" in wait_result.out
    assert (
        "1 failed with not_read: the job was stopped before the document was read\n"
        "  b.pdf" in wait_result.out
    )
    assert second_result.status == 0, second_result.err
    assert [key for key, _ in cloud.transformed.sent] == ["b.pdf"]


# Requests that change something: model, manifest, work list and job.
@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_interrupted_start_reads_each_document_once(
    chandra, upload_document, cloud, wire, when, number
):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf")
    cloud.calls.clear()
    setattr(cloud, when, number)

    interrupted_result = chandra(*START_COMMAND)
    setattr(cloud, when, None)
    second_result = chandra(*START_COMMAND)

    assert interrupted_result.status != 0
    assert second_result.status == 0, second_result.err
    assert len(cloud.jobs) == 1
    assert sorted(key for key, _ in cloud.transformed.sent) == ["a.pdf", "b.pdf"]
    assert list_keys(wire) == ["md/a.pdf.out", "md/b.pdf.out"]
