"""Results of jobs under readable names, and documents that were left out."""

from __future__ import annotations

import json

import pytest

from tests.deploy.batch.transformer import TRANSFORM_CONFIG, create_batch_resources
from tests.deploy.contents import PDF

ISOLATION = "[network]\nisolation = false\n"


@pytest.fixture
def upload_document(cloud, wire, project, at):
    """Return a function that uploads a document: `upload_document(key, body)`."""
    project(TRANSFORM_CONFIG + ISOLATION)
    return create_batch_resources(cloud, wire, at.now)


@pytest.fixture
def job_name(chandra, upload_document, cloud, tmp_path):
    """Return the name of a job over a local folder."""
    folder = tmp_path / "scans"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.pdf").write_bytes(PDF + b"first")
    (folder / "sub" / "b.pdf").write_bytes(PDF + b"second")
    chandra("transform", "start", str(folder), "s3://results/md")
    return next(iter(cloud.jobs))


@pytest.fixture
def manifest(upload_document, tmp_path):
    """Return a manifest with an existing and a missing document."""
    upload_document("a.pdf")
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"document": "s3://inbox/a.pdf"}\n{"document": "s3://inbox/gone.pdf"}\n'
    )
    return path


def read_files(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_results_keep_the_names_of_the_folder(chandra, job_name, tmp_path):
    result = chandra("transform", "fetch", job_name, "--into", str(tmp_path / "md"))

    assert result.status == 0, result.err
    assert "wrote 2 results" in result.out
    assert read_files(tmp_path / "md") == {
        "a.pdf.md": "# first", "sub/b.pdf.md": "# second"
    }  # fmt: skip


def test_results_are_fetched_into_bucket(chandra, job_name, wire):
    result = chandra("transform", "fetch", job_name, "--into", "s3://results/named")

    assert result.status == 0, result.err
    objects = wire.call("s3", "get_object", Bucket="results", Key="named/sub/b.pdf.md")
    assert objects["Body"].read() == b"# second"


def test_other_file_is_overwritten_only_by_force(chandra, job_name, tmp_path):
    (tmp_path / "md").mkdir()
    (tmp_path / "md" / "a.pdf.md").write_text("mine")
    fetch = ("transform", "fetch", job_name, "--into", str(tmp_path / "md"))

    unforced_result = chandra(*fetch)
    unforced_text = (tmp_path / "md" / "a.pdf.md").read_text()
    forced_result = chandra(*fetch, "--force", "--json")

    assert (unforced_result.status, unforced_text, forced_result.status) == (
        1,
        "mine",
        0,
    )
    assert "--force overwrites them" in unforced_result.out
    assert forced_result.json["outcomes"] == {"written": 1, "unchanged": 1}
    assert (tmp_path / "md" / "a.pdf.md").read_text() == "# first"


def test_equal_names_of_two_jobs_get_distinct_files(
    chandra, upload_document, cloud, tmp_path
):
    for name in ("A", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.pdf").write_bytes(PDF + name.encode())
        chandra("transform", "start", str(tmp_path / name), "s3://results/md")

    result = chandra("transform", "fetch", *cloud.jobs, "--into", str(tmp_path / "md"))

    objects = read_files(tmp_path / "md")
    assert result.status == 0, result.err
    assert sorted(objects.values()) == ["# A", "# a"]
    assert len({name.casefold() for name in objects}) == 2


def test_document_without_result_is_reported(chandra, upload_document, cloud, tmp_path):
    upload_document("scans/a.pdf", b"broken")
    upload_document("scans/b.pdf")
    chandra("transform", "start", "s3://inbox/scans/", "s3://results/md")
    (name,) = cloud.jobs

    result = chandra("transform", "fetch", name, "--into", str(tmp_path / "md"))

    assert result.status == 1
    assert "failed: a.pdf" in result.out
    assert f"chandra-sagemaker transform status {name}" in result.out


def test_a_dry_run_of_fetch_writes_nothing(chandra, job_name, tmp_path):
    result = chandra(
        "transform", "fetch", job_name, "--into", str(tmp_path / "md"), "--dry-run"
    )

    assert "would write 2 results" in result.out
    assert not (tmp_path / "md").exists()


def test_fetch_without_into_shows_usage(chandra, job_name):
    result = chandra("transform", "fetch", job_name)

    assert result.status == 2
    assert "required: --into" in result.err
    assert "chandra-sagemaker transform fetch --help" in result.err


@pytest.mark.parametrize(
    ("into", "status", "words"),
    [
        ("", 2, "--into is empty"),
        ("s3://", 2, "it must be s3://bucket/key, not s3://"),
        ("s3://missing/md", 4, "missing"),
    ],
)
def test_invalid_into_is_refused(chandra, job_name, into, status, words):
    result = chandra("transform", "fetch", job_name, "--into", into)

    assert (result.status, result.out) == (status, "")
    assert words in result.err
    assert "\ntry:" in result.err


def test_left_out_documents_are_reported_once(chandra, cloud, manifest, tmp_path):
    chandra("transform", "start", str(manifest), "s3://results/md")
    chandra("transform", "start", str(manifest), "s3://results/md", "--paginate")

    result = chandra("transform", "fetch", *cloud.jobs, "--into", str(tmp_path / "md"))

    assert len(cloud.jobs) == 2
    assert "1 failed with document_not_found" in result.out


# Documents that no job was given


@pytest.mark.parametrize("command", ["status", "wait", "fetch"])
def test_missing_document_counts_in_its_job(
    chandra, cloud, manifest, tmp_path, command
):
    chandra("transform", "start", str(manifest), "s3://results/md", "--no-wait")
    (name,) = cloud.jobs
    chandra("transform", "wait", name)
    more = ("--into", str(tmp_path / "md")) if command == "fetch" else ()

    result = chandra("transform", command, name, *more)
    data = chandra("transform", command, name, *more, "--json").json

    assert result.status == 1
    assert "1 failed with document_not_found: there is no such object" in result.out
    assert [each["document"] for each in data["left_out"]] == ["s3://inbox/gone.pdf"]


def test_retry_still_reports_missing_documents(
    chandra, upload_document, cloud, manifest
):
    cloud.transformed.failure_reason = "InternalServerError"
    chandra("transform", "start", str(manifest), "s3://results/md")
    (first_job,) = cloud.jobs
    cloud.transformed.failure_reason = None

    second_result = chandra("transform", "retry", first_job, "--json")

    assert second_result.status == 1
    assert second_result.json["read"] == 1
    assert [each["code"] for each in second_result.json["left_out"]] == [
        "document_not_found"
    ]


def test_permanent_failures_need_retry_all(chandra, upload_document, cloud):
    upload_document("scans/a.pdf", b"broken")
    upload_document("scans/b.pdf")
    chandra("transform", "start", "s3://inbox/scans/", "s3://results/md")
    (first_job,) = cloud.jobs
    cloud.transformed.sent.clear()

    retry_result = chandra("transform", "retry", first_job)
    num_sent = len(cloud.transformed.sent)
    retry_all_result = chandra("transform", "retry", "--all", first_job)

    assert (retry_result.status, num_sent) == (1, 0)
    assert "try: repair or replace the file: it is damaged or empty" in retry_result.out
    assert f"chandra-sagemaker transform retry --all {first_job}" in retry_result.out
    assert retry_all_result.status == 1
    assert [key for key, _ in cloud.transformed.sent] == ["a.pdf"]


def test_manifest_without_existing_documents_starts_no_job(
    chandra, upload_document, cloud, tmp_path
):
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps({"document": "s3://inbox/gone.pdf"}))

    result = chandra("transform", "start", str(path), "s3://results/md", "--json")

    assert result.status == 1
    assert result.json["job"] is None
    assert [each["code"] for each in result.json["left_out"]] == ["document_not_found"]
    assert cloud.jobs == {}
