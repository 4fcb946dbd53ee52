"""Command line of batch jobs: flags, waiting, interruption, status and stop."""

from __future__ import annotations

import pytest

from tests.deploy.batch.transformer import (
    GROUP,
    RUN,
    keys,
)
from tests.deploy.contents import PDF


def test_retry_has_no_request_options(chandra):
    ran = chandra("transform", "retry", "ocr-1", "--tables", "html")

    assert ran.status == 2
    assert "unrecognized arguments: --tables html" in ran.err


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
    ran = chandra("transform", *usage.split(), *flags.split())

    assert ran.status == 2
    assert f"unrecognized arguments: {flags}" in ran.err


@pytest.mark.slow
def test_a_job_is_watched_for_as_long_as_it_takes(chandra, put, cloud, at):
    put("scans/a.pdf")
    cloud.num_descriptions = 150
    began = at.now

    ran = chandra(*RUN)

    assert ran.status == 0, ran.err
    assert at.now - began > 3600
    assert "[1 h 10 min] InProgress" in ran.out


def test_waiting_ends_and_the_job_goes_on(chandra, put, cloud):
    put("scans/a.pdf")
    cloud.num_descriptions = 1000

    ran = chandra(*RUN, "--timeout", "120")

    assert ran.status == 7
    assert "0 of 1 documents after 2 min" in ran.err
    assert "chandra-sagemaker transform wait ocr-" in ran.err


def interrupting(*_):
    raise KeyboardInterrupt


def test_ctrl_c_says_that_job_goes_on_and_how_to_follow(chandra, put, cloud):
    put("scans/a.pdf")

    ran = chandra(*RUN, sleep=interrupting)
    (name,) = cloud.jobs
    waited = chandra("transform", "wait", name)

    assert ran.status == 130
    assert f"transform job {name} continues, and is paid for" in ran.err
    assert f"`transform stop {name}`" in ran.err
    assert waited.status == 0
    assert "1 of 1 documents read" in waited.out


def test_ctrl_c_while_a_job_is_started_says_where_to_look(chandra, put, intercept):
    put("scans/a.pdf")
    intercept("sagemaker", "CreateTransformJob", interrupting)

    ran = chandra(*RUN)

    assert ran.status == 130
    assert "about to start transform job ocr-" in ran.err
    assert "`chandra-sagemaker transform status` its jobs" in ran.err


def test_job_without_results_gives_reason_and_hint(chandra, put, cloud):
    put("scans/a.pdf")
    cloud.transformed.refuses_all = "InsufficientCapacityError: no ml.g6e.2xlarge"

    ran = chandra(*RUN)

    assert ran.status == 6
    assert "failed before it had read anything: InsufficientCapacity" in ran.err
    assert "transform retry ocr-" in ran.err


def test_status_lists_the_jobs_of_the_deployment(chandra, put, cloud):
    empty = chandra("transform", "status")
    put("scans/a.pdf")
    chandra(*RUN)
    (name,) = cloud.jobs

    listed = chandra("transform", "status")
    one = chandra("transform", "status", name, "--json")

    assert "has had no transform job" in empty.out
    assert name in listed.out
    assert one.json["read"] == 1


def test_the_status_of_the_deployment_shows_its_last_jobs(chandra, put, cloud):
    put("scans/a.pdf")
    chandra(*RUN)
    (name,) = cloud.jobs

    ran = chandra("status")
    facts = chandra("status", "--json").json

    assert ran.status == 0, ran.err
    assert name in ran.out
    assert [each["job"] for each in facts["jobs"]] == [name]
    assert facts["asynchronous"] is None


def test_job_of_another_owner_is_untouched(chandra, put, cloud):
    put("scans/a.pdf")
    chandra(*RUN)
    (name,) = cloud.jobs

    assert chandra("transform", "stop", "theirs").status == 4
    assert chandra("transform", "stop", name).out.endswith("nothing to stop\n")


def test_a_dry_run_shows_price_and_calls_and_starts_nothing(
    chandra, put, cloud, tmp_path
):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.pdf").write_bytes(PDF + b"fine")
    cloud.calls.clear()

    ran = chandra(
        "transform", "start", str(tmp_path / "scans"), "s3://results/md", "--dry-run"
    )

    assert ran.status == 0, ran.err
    assert "would upload 1 files" in ran.out
    assert "would create model ocr-" in ran.out
    assert "would start transform job ocr-" in ran.out
    assert "an hour" in ran.out
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
def test_invalid_arguments_are_rejected_with_hint(chandra, put, arguments, tmp_path):
    put("scans/a.pdf")

    ran = chandra("transform", *arguments)

    assert ran.status == 2
    assert "try:" in ran.err


def test_destroy_all_stops_jobs_and_keeps_only_results(chandra, put, cloud, wire):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    chandra(*RUN)
    put("scans/c.pdf")
    chandra(*RUN, "--no-wait")
    *_, running = cloud.jobs
    name = "ocr-x-12345678/i-1"
    wire.call("logs", "create_log_stream", logGroupName=GROUP, logStreamName=name)

    ran = chandra("destroy", "--all")

    streams = wire.pages(
        "logs", "describe_log_streams", "logStreams", logGroupName=GROUP
    )
    assert ran.status == 0, ran.err
    assert f"would stop transform job {running}" in ran.out
    assert cloud.jobs[running].status == "Stopping"
    assert keys(wire) == ["md/a.pdf.out"]
    assert [k for k in keys(wire, "weights") if k.startswith("transforms")] == []
    assert [stream["logStreamName"] for stream in streams] == [name]
    assert list(wire.pages("sagemaker", "list_models", "Models")) == []
