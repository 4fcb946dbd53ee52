"""Command line of batch jobs: flags, waiting, interruption, status and stop."""

from __future__ import annotations

import pytest

from tests.deploy.batch.transformer import (
    LOG_GROUP,
    START_COMMAND,
    list_keys,
)
from tests.deploy.contents import PDF


def test_retry_has_no_request_options(chandra):
    result = chandra("transform", "retry", "ocr-1", "--tables", "html")

    assert result.status == 2
    assert "unrecognized arguments: --tables html" in result.err


@pytest.mark.parametrize(
    ("usage", "flags"),
    [
        ("retry --all ocr-1", "--hidden"),
        ("retry ocr-1", "--into here"),
        ("--retry-failed ocr-1", "--into here"),
        ("fetch ocr-1 --into here", "--format json"),
        ("wait ocr-1", "--into here"),
        ("start s3://inbox/ s3://results/md", "--into here"),
    ],
)
def test_flag_that_would_be_ignored_is_refused(chandra, usage, flags):
    result = chandra("transform", *usage.split(), *flags.split())

    assert result.status == 2
    assert f"unrecognized arguments: {flags}" in result.err


@pytest.mark.slow
def test_a_job_is_watched_for_as_long_as_it_takes(chandra, upload_document, cloud, at):
    upload_document("scans/a.pdf")
    cloud.num_descriptions = 150
    began = at.now

    result = chandra(*START_COMMAND)

    assert result.status == 0, result.err
    assert at.now - began > 3600
    assert "[1 h 10 min] InProgress" in result.out


def test_waiting_ends_and_the_job_goes_on(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    cloud.num_descriptions = 1000

    result = chandra(*START_COMMAND, "--timeout", "120")

    assert result.status == 7
    assert "0 of 1 documents after 2 min" in result.err
    assert "chandra-sagemaker transform wait ocr-" in result.err


def interrupting(*_):
    raise KeyboardInterrupt


def test_ctrl_c_says_that_job_goes_on_and_how_to_follow(
    chandra, upload_document, cloud
):
    upload_document("scans/a.pdf")

    result = chandra(*START_COMMAND, sleep=interrupting)
    (name,) = cloud.jobs
    wait_result = chandra("transform", "wait", name)

    assert result.status == 130
    assert f"transform job {name} continues, and is paid for" in result.err
    assert f"`transform stop {name}`" in result.err
    assert wait_result.status == 0
    assert "1 of 1 documents read" in wait_result.out


def test_ctrl_c_while_a_job_is_started_says_where_to_look(
    chandra, upload_document, intercept
):
    upload_document("scans/a.pdf")
    intercept("sagemaker", "CreateTransformJob", interrupting)

    result = chandra(*START_COMMAND)

    assert result.status == 130
    assert "about to start transform job ocr-" in result.err
    assert "`chandra-sagemaker transform status` lists the jobs" in result.err


def test_job_without_results_gives_reason_and_hint(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    cloud.transformed.failure_reason = "InsufficientCapacityError: no ml.g6e.2xlarge"

    result = chandra(*START_COMMAND)

    assert result.status == 6
    assert "failed before it had read anything: InsufficientCapacity" in result.err
    assert "transform retry ocr-" in result.err


def test_status_lists_the_jobs_of_the_deployment(chandra, upload_document, cloud):
    status_without_jobs = chandra("transform", "status")
    upload_document("scans/a.pdf")
    chandra(*START_COMMAND)
    (name,) = cloud.jobs

    status = chandra("transform", "status")
    status_of_job = chandra("transform", "status", name, "--json")

    assert "has had no transform job" in status_without_jobs.out
    assert name in status.out
    assert status_of_job.json["read"] == 1


def test_the_status_of_the_deployment_shows_its_last_jobs(
    chandra, upload_document, cloud
):
    upload_document("scans/a.pdf")
    chandra(*START_COMMAND)
    (name,) = cloud.jobs

    result = chandra("status")
    facts = chandra("status", "--json").json

    assert result.status == 0, result.err
    assert name in result.out
    assert [each["job"] for each in facts["jobs"]] == [name]
    assert facts["asynchronous"] is None


def test_job_of_another_owner_is_untouched(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    chandra(*START_COMMAND)
    (name,) = cloud.jobs

    assert chandra("transform", "stop", "theirs").status == 4
    assert chandra("transform", "stop", name).out.endswith("nothing to stop\n")


def test_a_dry_run_shows_price_and_calls_and_starts_nothing(
    chandra, upload_document, cloud, tmp_path
):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.pdf").write_bytes(PDF + b"fine")
    cloud.calls.clear()

    result = chandra(
        "transform", "start", str(tmp_path / "scans"), "s3://results/md", "--dry-run"
    )

    assert result.status == 0, result.err
    assert "would upload 1 files" in result.out
    assert "would create model ocr-" in result.out
    assert "would start transform job ocr-" in result.out
    assert "an hour" in result.out
    assert cloud.changes == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("start", "s3://inbox/scans/"),
        ("wait",),
        ("start", "a.pdf", "here"),
        ("start", "s3://inbox/scans/", "s3://results/md", "--instance-count", "0"),
        ("retry", "ocr-12345678", "s3://inbox"),
        ("--retry-failed", "ocr-12345678", "s3://inbox"),
    ],
)
def test_invalid_arguments_are_rejected_with_hint(
    chandra, upload_document, arguments, tmp_path
):
    upload_document("scans/a.pdf")

    result = chandra("transform", *arguments)

    assert result.status == 2
    assert "try:" in result.err


def test_destroy_all_stops_jobs_and_keeps_only_results(
    chandra, upload_document, cloud, wire
):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", b"broken")
    chandra(*START_COMMAND)
    upload_document("scans/c.pdf")
    chandra(*START_COMMAND, "--no-wait")
    *_, running = cloud.jobs
    name = "ocr-x-12345678/i-1"
    wire.call("logs", "create_log_stream", logGroupName=LOG_GROUP, logStreamName=name)

    result = chandra("destroy", "--all")

    streams = wire.pages(
        "logs", "describe_log_streams", "logStreams", logGroupName=LOG_GROUP
    )
    assert result.status == 0, result.err
    assert f"would stop transform job {running}" in result.out
    assert cloud.jobs[running].status == "Stopping"
    assert list_keys(wire) == ["md/a.pdf.out"]
    assert [k for k in list_keys(wire, "weights") if k.startswith("transforms")] == []
    assert [stream["logStreamName"] for stream in streams] == [name]
    assert list(wire.pages("sagemaker", "list_models", "Models")) == []
