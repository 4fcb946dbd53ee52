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
    (first,) = cloud.jobs
    upload_document("scans/b.pdf", b"mended")
    cloud.transformed.sent.clear()

    command = chandra("transform", "retry", first)

    assert command.status == 0, command.err
    assert cloud.transformed.sent == [("b.pdf", PDF + b"mended")]
    assert list_keys(wire) == ["md/a.pdf.out", "md/b.pdf.out"]
    assert chandra("transform", "retry", first).out == (
        f"every document of transform job {first} has its result\n"
    )
    assert chandra("transform", "status", first).status == 0


@pytest.mark.parametrize("kind", ["objects", "files"])
def test_documents_lacking_pages_transiently_are_retried(
    chandra, upload_document, wire, cloud, tmp_path, kind
):
    bodies = {"a.pdf": b"fine", "b.pdf": b"partly", "c.pdf": b"also fine"}
    for name, body in bodies.items():
        upload_document(f"scans/{name}", body)
        (tmp_path / "scans").mkdir(exist_ok=True)
        (tmp_path / "scans" / name).write_bytes(beginning(name) + body)
    where = "s3://inbox/scans/" if kind == "objects" else str(tmp_path / "scans")
    result = chandra("transform", "start", where, "s3://results/md")
    (first,) = cloud.jobs
    cloud.transformed.sent.clear()

    again = chandra("transform", "retry", first)

    assert result.status == again.status == 0, result.err + again.err
    assert "in part: b.pdf lacks page 2 (engine_failed)" in result.out
    assert "1 lack pages after a transient error: b.pdf" in result.out
    assert f"next: chandra-sagemaker transform retry {first}" in result.out
    assert [body for _, body in cloud.transformed.sent] == [PDF + b"partly"]


def test_permanently_missing_pages_are_not_retried(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"cut off")
    result = chandra(*START_COMMAND)
    (first,) = cloud.jobs

    shown = chandra("transform", "status", first, "--json").json
    again = chandra("transform", "retry", first)

    assert "in part: b.pdf lacks page 2 (deadline_exceeded)" in result.out
    assert shown["missing_pages"] == {"b.pdf": {"2": "deadline_exceeded"}}
    assert shown["in_part"] == []
    assert "every document" in again.out


def test_results_in_another_format_are_refused(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    chandra(*START_COMMAND)

    refused = chandra(*START_COMMAND, "--format", "json")
    forced = chandra(*START_COMMAND, "--format", "json", "--force")

    assert refused.status == 2
    assert "the results in s3://results/md/ are text/markdown" in refused.err
    assert "another OUTPUT, or --force" in refused.err
    assert forced.status == 0, forced.err
    assert (
        get_last_job_request(cloud)["TransformOutput"]["Accept"] == "application/json"
    )


def test_repeated_command_shows_result_without_new_job(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"broken")
    first = chandra(*START_COMMAND)
    cloud.calls.clear()

    again = chandra(*START_COMMAND)

    assert (first.status, again.status) == (1, 1)
    assert "did this already: --force does it again" in again.out
    assert "1 failed with unreadable_document" in again.out
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
    assert "is doing this already" in result.out
    assert len(cloud.jobs) == 1


def test_job_is_continued_with_the_rest_once_it_has_stopped(
    chandra, upload_document, cloud, wire
):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf")
    chandra(*START_COMMAND, "--no-wait")
    (first,) = cloud.jobs
    upload_document("md/a.pdf.out", bucket="results")

    stopped = chandra("transform", "stop", first)
    early = chandra(*START_COMMAND)
    waited = chandra("transform", "wait", first)
    again = chandra(*START_COMMAND)

    assert stopped.status == 0, stopped.err
    assert "results written before stay in s3://results/md/" in stopped.out
    assert early.status == 5
    assert waited.status == 1
    assert "was stopped: 1 of 2 documents read" in waited.out
    assert "1 failed with not_read: the job was stopped before\n  b.pdf" in waited.out
    assert again.status == 0, again.err
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

    broken = chandra(*START_COMMAND)
    setattr(cloud, when, None)
    again = chandra(*START_COMMAND)

    assert broken.status != 0
    assert again.status == 0, again.err
    assert len(cloud.jobs) == 1
    assert sorted(key for key, _ in cloud.transformed.sent) == ["a.pdf", "b.pdf"]
    assert list_keys(wire) == ["md/a.pdf.out", "md/b.pdf.out"]
