"""Batch jobs over documents that an earlier job has read in part."""

from __future__ import annotations

import pytest

from tests.deploy.batch.transformer import (
    RUN,
    job,
    keys,
)
from tests.deploy.contents import PDF, beginning


def test_only_failed_documents_are_retried(chandra, put, wire, cloud):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    chandra(*RUN)
    (first,) = cloud.jobs
    put("scans/b.pdf", b"mended")
    cloud.transformed.sent.clear()

    ran = chandra("transform", "retry", first)

    assert ran.status == 0, ran.err
    assert cloud.transformed.sent == [("b.pdf", PDF + b"mended")]
    assert keys(wire) == ["md/a.pdf.out", "md/b.pdf.out"]
    assert chandra("transform", "retry", first).out == (
        f"every document of transform job {first} has its result\n"
    )
    assert chandra("transform", "status", first).status == 0


@pytest.mark.parametrize("kind", ["objects", "files"])
def test_documents_lacking_pages_transiently_are_retried(
    chandra, put, wire, cloud, tmp_path, kind
):
    bodies = {"a.pdf": b"fine", "b.pdf": b"partly", "c.pdf": b"also fine"}
    for name, body in bodies.items():
        put(f"scans/{name}", body)
        (tmp_path / "scans").mkdir(exist_ok=True)
        (tmp_path / "scans" / name).write_bytes(beginning(name) + body)
    where = "s3://inbox/scans/" if kind == "objects" else str(tmp_path / "scans")
    ran = chandra("transform", "start", where, "s3://results/md")
    (first,) = cloud.jobs
    cloud.transformed.sent.clear()

    again = chandra("transform", "retry", first)

    assert ran.status == again.status == 0, ran.err + again.err
    assert "in part: b.pdf lacks page 2 (engine_failed)" in ran.out
    assert "1 lack pages after a transient error: b.pdf" in ran.out
    assert f"next: chandra-sagemaker transform retry {first}" in ran.out
    assert [body for _, body in cloud.transformed.sent] == [PDF + b"partly"]


def test_permanently_missing_pages_are_not_retried(chandra, put, cloud):
    put("scans/a.pdf")
    put("scans/b.pdf", b"cut off")
    ran = chandra(*RUN)
    (first,) = cloud.jobs

    shown = chandra("transform", "status", first, "--json").json
    again = chandra("transform", "retry", first)

    assert "in part: b.pdf lacks page 2 (deadline_exceeded)" in ran.out
    assert shown["missing_pages"] == {"b.pdf": {"2": "deadline_exceeded"}}
    assert shown["in_part"] == []
    assert "every document" in again.out


def test_results_in_another_format_are_refused(chandra, put, cloud):
    put("scans/a.pdf")
    chandra(*RUN)

    refused = chandra(*RUN, "--format", "json")
    forced = chandra(*RUN, "--format", "json", "--force")

    assert refused.status == 2
    assert "the results in s3://results/md/ are text/markdown" in refused.err
    assert "another OUTPUT, or --force" in refused.err
    assert forced.status == 0, forced.err
    assert job(cloud)["TransformOutput"]["Accept"] == "application/json"


def test_repeated_command_shows_result_without_new_job(chandra, put, cloud):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    first = chandra(*RUN)
    cloud.calls.clear()

    again = chandra(*RUN)

    assert (first.status, again.status) == (1, 1)
    assert "did this already: --force does it again" in again.out
    assert "1 failed with unreadable_document" in again.out
    assert cloud.changes == []


def test_documents_with_result_are_not_read_again(chandra, put, cloud, wire):
    put("scans/a.pdf")
    chandra(*RUN)
    put("scans/b.pdf")
    cloud.transformed.sent.clear()

    ran = chandra(*RUN)

    assert ran.status == 0, ran.err
    assert "1 of 2 documents have their result in s3://results/md/" in ran.out
    assert [key for key, _ in cloud.transformed.sent] == ["b.pdf"]


def test_force_reads_everything_again(chandra, put, cloud):
    put("scans/a.pdf")
    chandra(*RUN)
    cloud.transformed.sent.clear()

    ran = chandra(*RUN, "--force")

    assert ran.status == 0, ran.err
    assert len(cloud.jobs) == 2
    assert [key for key, _ in cloud.transformed.sent] == ["a.pdf"]


def test_complete_results_start_no_job(chandra, put, cloud):
    put("scans/a.pdf")
    put("md/a.pdf.out", bucket="results")

    ran = chandra(*RUN)

    assert ran.status == 0
    assert "no document is left to read, so no job was started" in ran.out
    assert cloud.jobs == {}


def test_same_command_joins_running_job(chandra, put, cloud):
    put("scans/a.pdf")
    chandra(*RUN, "--no-wait")

    ran = chandra(*RUN)

    assert ran.status == 0, ran.err
    assert "is doing this already" in ran.out
    assert len(cloud.jobs) == 1


def test_job_is_continued_with_the_rest_once_it_has_stopped(chandra, put, cloud, wire):
    put("scans/a.pdf")
    put("scans/b.pdf")
    chandra(*RUN, "--no-wait")
    (first,) = cloud.jobs
    put("md/a.pdf.out", bucket="results")

    stopped = chandra("transform", "stop", first)
    early = chandra(*RUN)
    waited = chandra("transform", "wait", first)
    again = chandra(*RUN)

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
    chandra, put, cloud, wire, when, number
):
    put("scans/a.pdf")
    put("scans/b.pdf")
    cloud.calls.clear()
    setattr(cloud, when, number)

    broken = chandra(*RUN)
    setattr(cloud, when, None)
    again = chandra(*RUN)

    assert broken.status != 0
    assert again.status == 0, again.err
    assert len(cloud.jobs) == 1
    assert sorted(key for key, _ in cloud.transformed.sent) == ["a.pdf", "b.pdf"]
    assert keys(wire) == ["md/a.pdf.out", "md/b.pdf.out"]
