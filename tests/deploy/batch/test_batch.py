"""Batch transform, whole commands against an AWS of ours, over the wire."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handler.http.json_body import members_from
from tests.deploy.batch.transformer import BUCKETS, GROUP, TAR, with_documents
from tests.deploy.contents import PDF, beginning

RUN = ("transform", "start", "s3://inbox/scans/", "s3://results/md")


@pytest.fixture
def put(cloud, wire, project, at):
    """put("scans/a.pdf", b"..."): documents in a bucket, and machines to read them."""
    project(BUCKETS)
    return with_documents(cloud, wire, at.now)


def keys(wire, bucket="results"):
    return sorted(
        item["Key"]
        for item in wire.pages("s3", "list_objects_v2", "Contents", Bucket=bucket)
    )


def job(cloud):
    """The request of the last job."""
    return list(cloud.jobs.values())[-1].request


def test_from_a_bucket_to_a_bucket(chandra, put, wire, cloud):
    put("scans/a.pdf")
    put("scans/sub/b.png")

    ran = chandra(*RUN)

    assert ran.status == 0, ran.err + ran.out
    assert keys(wire) == ["md/a.pdf.out", "md/sub/b.png.out"]
    assert "2 documents, about" in ran.out
    assert "$2.80 an hour" in ran.out
    assert "InProgress: 0 of 2 documents" in ran.out
    assert "2 of 2 documents read" in ran.out
    assert "pages read: 4" in ran.out


def test_a_job_says_all_that_sagemaker_would_guess(chandra, put, cloud):
    put("scans/a.pdf")

    chandra(*RUN, "--format", "json")

    request = job(cloud)
    assert request["BatchStrategy"] == "SingleRecord"
    assert request["TransformInput"]["SplitType"] == "None"
    assert request["TransformInput"]["ContentType"] == "application/pdf"
    assert request["TransformOutput"]["Accept"] == "application/json"
    assert request["MaxConcurrentTransforms"] * request["MaxPayloadInMB"] <= 100
    assert request["ModelClientConfig"] == {
        "InvocationsTimeoutInSeconds": 3600,
        "InvocationsMaxRetries": 1,
    }
    assert (
        request["TransformResources"]["TransformAmiVersion"]
        == "al2-ami-sagemaker-batch-gpu-535"
    )


def test_the_model_of_a_job_has_its_weights_in_a_tar(chandra, put, cloud, wire):
    put("scans/a.pdf")

    chandra(*RUN)

    model = wire.call("sagemaker", "describe_model", ModelName=job(cloud)["ModelName"])[
        "PrimaryContainer"
    ]
    assert model["ModelDataUrl"] == f"s3://weights/{TAR}"
    assert "ModelDataSource" not in model
    assert model["Environment"]["SERVE_USE"] == "batch"


def test_no_job_is_started_with_an_image_that_is_gone(chandra, put, cloud, wire):
    put("scans/a.pdf")
    wire.call(
        "ecr", "delete_repository", repositoryName="chandra-torchserve", force=True
    )

    ran = chandra(*RUN)

    assert ran.status == 2, ran.out
    assert "there is no image" in ran.err
    assert "chandra-sagemaker image push" in ran.err
    assert cloud.jobs == {}


def test_weights_are_pulled_by_the_container_where_it_may(
    chandra, put, cloud, wire, project
):
    put("scans/a.pdf")
    project(BUCKETS + 'weights = "pull"\n[network]\nisolation = false\n')

    ran = chandra(*RUN)

    model = wire.call("sagemaker", "describe_model", ModelName=job(cloud)["ModelName"])[
        "PrimaryContainer"
    ]
    assert ran.status == 0, ran.err
    assert "ModelDataUrl" not in model
    assert (
        model["Environment"]["MODEL_S3_URI"]
        == "s3://weights/models/datalab-to/chandra/0123abc/"
    )


def test_objects_of_several_types_are_left_to_the_server_to_tell(chandra, put, cloud):
    put("scans/a.pdf")
    put("scans/b.png")

    chandra(*RUN)

    assert job(cloud)["TransformInput"]["ContentType"] == "application/octet-stream"


def test_failures_are_reported_and_the_rest_is_read(chandra, put, wire):
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


def test_a_status_that_always_had_one_code_is_that_code(chandra, put, cloud):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    cloud.transformed.says_bodies = False

    ran = chandra(*RUN)

    assert "1 failed with unreadable_document: status 422, which was always" in ran.out


def test_failure_missing_in_the_log_is_unknown(chandra, put, cloud, wire):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    cloud.transformed.is_silent = True

    ran = chandra(*RUN)

    assert ran.status == 1
    assert "1 failed with unknown: no line of the log names it" in ran.out
    assert "SageMaker says: AlgorithmError" in ran.out


@pytest.fixture
def ended(chandra, put, cloud, at):
    """ended(): a job that was watched to its end; the seconds after that."""
    cloud.clock = at

    def run():
        put("scans/a.pdf")
        ran = chandra(*RUN)
        (job,) = cloud.jobs.values()
        return ran, at.now - job.ended

    return run


def test_a_log_that_tells_of_every_document_is_not_waited_for(ended):
    ran, seconds = ended()

    assert seconds == 0
    assert "note:" not in ran.out


def test_empty_log_is_reported_after_a_minute(ended, cloud):
    cloud.transformed.is_silent = True

    ran, seconds = ended()

    assert ran.status == 0, ran.err
    assert seconds == 60
    assert "note: the job's log has no line, late or for ever: how many" in ran.out
    assert "pages read" not in ran.out


def test_silent_log_is_awaited_for_15_seconds(ended, cloud):
    cloud.transformed.says_requests = False

    ran, seconds = ended()

    assert seconds == 15
    assert "note: the job's log tells of 0 of 1 documents that were read" in ran.out


def test_a_log_that_may_not_be_read_is_not_waited_for(ended, cloud):
    cloud.forbidden = {"logs:FilterLogEvents"}

    ran, seconds = ended()

    assert (ran.status, seconds) == (0, 0)
    assert "note: the job's log may not be read: how many pages" in ran.out
    assert "logs:FilterLogEvents" in ran.out


def test_log_of_earlier_job_lacks_documents_of_later_one(chandra, put, cloud):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    chandra(*RUN)
    (first,) = cloud.jobs
    put("scans/b.pdf", b"mended")
    cloud.jobs[first].ended -= 3600
    chandra("transform", "retry", first)

    shown = chandra("transform", "status", first, "--json").json

    assert (shown["read"], shown["untold"]) == (2, None)


def test_of_a_job_that_ended_long_ago_nothing_more_is_waited_for(
    ended, chandra, cloud, at
):
    cloud.transformed.is_silent = True
    ended()
    (name,) = cloud.jobs
    at.sleep(3600)
    before = at.now

    shown = chandra("transform", "status", name, "--json").json

    assert at.now == before
    assert "has no line" in shown["untold"]


def test_only_the_failed_are_tried_again(chandra, put, wire, cloud):
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
def test_pages_with_transient_errors_are_retried(
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


def test_pages_with_permanent_errors_are_not_retried(chandra, put, cloud):
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


def test_results_of_another_format_do_not_count(chandra, put, cloud):
    put("scans/a.pdf")
    chandra(*RUN)

    refused = chandra(*RUN, "--format", "json")
    forced = chandra(*RUN, "--format", "json", "--force")

    assert refused.status == 2
    assert "the results in s3://results/md/ are text/markdown" in refused.err
    assert "another OUTPUT, or --force" in refused.err
    assert forced.status == 0, forced.err
    assert job(cloud)["TransformOutput"]["Accept"] == "application/json"


def test_asked_for_twice_it_is_shown_and_not_paid_for_again(chandra, put, cloud):
    put("scans/a.pdf")
    put("scans/b.pdf", b"broken")
    first = chandra(*RUN)
    cloud.calls.clear()

    again = chandra(*RUN)

    assert (first.status, again.status) == (1, 1)
    assert "did this already: --force does it again" in again.out
    assert "1 failed with unreadable_document" in again.out
    assert cloud.changes == []


def test_documents_with_a_result_are_left_out_of_the_next_job(
    chandra, put, cloud, wire
):
    put("scans/a.pdf")
    chandra(*RUN)
    put("scans/b.pdf")
    cloud.transformed.sent.clear()

    ran = chandra(*RUN)

    assert ran.status == 0, ran.err
    assert "1 of 2 documents have their result in s3://results/md/" in ran.out
    assert [key for key, _ in cloud.transformed.sent] == ["b.pdf"]


def test_with_force_everything_is_read_again(chandra, put, cloud):
    put("scans/a.pdf")
    chandra(*RUN)
    cloud.transformed.sent.clear()

    ran = chandra(*RUN, "--force")

    assert ran.status == 0, ran.err
    assert len(cloud.jobs) == 2
    assert [key for key, _ in cloud.transformed.sent] == ["a.pdf"]


def test_nothing_is_started_where_every_result_is_there(chandra, put, cloud):
    put("scans/a.pdf")
    put("md/a.pdf.out", bucket="results")

    ran = chandra(*RUN)

    assert ran.status == 0
    assert "nothing is left to read, and nothing to pay" in ran.out
    assert cloud.jobs == {}


def test_files_are_uploaded_once_by_their_contents(chandra, put, cloud, wire, tmp_path):
    folder = tmp_path / "scans"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.pdf").write_bytes(PDF + b"fine")
    (folder / "sub" / "b.pdf").write_bytes(PDF + b"broken")

    ran = chandra("transform", "start", str(folder), "s3://results/md")
    cloud.calls.clear()
    (folder / "c.pdf").write_bytes(PDF + b"fine too")
    chandra("transform", "start", str(folder), "s3://results/md")

    assert ran.status == 1
    assert "uploading 2 files" in ran.out
    assert "  sub/b.pdf" in ran.out
    # One file, the job's list and its work, and the one result.
    assert cloud.changes.count("s3:PUT") == 4
    assert sorted(key.rpartition("/")[2] for key in keys(wire)) == [
        "a.pdf.out",
        "c.pdf.out",
    ]


def test_a_manifest_becomes_one_request_for_each_line(
    chandra, put, cloud, project, tmp_path
):
    project(BUCKETS + "[network]\nisolation = false\n")
    put("a.pdf")
    put("b.pdf")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(
        '{"document": "s3://inbox/a.pdf", "pages": "1-5"}\n'
        '{"document": "s3://inbox/b.pdf"}\n'
    )

    ran = chandra("transform", "start", str(manifest), "s3://results/md")

    bodies = sorted(body for _, body in cloud.transformed.sent)
    assert ran.status == 0, ran.err
    assert [json.loads(body) for body in bodies] == [
        {"s3_uri": "s3://inbox/a.pdf", "pages": "1-5"},
        {"s3_uri": "s3://inbox/b.pdf"},
    ]
    assert job(cloud)["TransformInput"]["ContentType"] == "application/json"
    assert job(cloud)["Environment"] == {"DOCUMENT_BUCKETS": "inbox"}


def test_documents_with_options_become_requests(chandra, put, cloud, project):
    project(BUCKETS + "[network]\nisolation = false\n")
    put("a.pdf")

    ran = chandra("transform", "start", "s3://inbox/", "s3://results/md",
                  "--prompt", "x; ü", "--max-attempts", "1")  # fmt: skip

    (body,) = [body for _, body in cloud.transformed.sent]
    assert ran.status == 0, ran.err
    assert json.loads(body) == {
        "s3_uri": "s3://inbox/a.pdf",
        "prompt": "x; ü",
        "max_attempts": 1,
    }
    assert job(cloud)["Environment"] == {"DOCUMENT_BUCKETS": "inbox"}


def test_a_long_prompt_is_sent_as_the_service_takes_it(
    chandra, put, cloud, project, tmp_path
):
    project(BUCKETS + "[network]\nisolation = false\n")
    put("a.pdf")
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("сумма " * 700, "utf-8-sig")

    ran = chandra("transform", "start", "s3://inbox/", "s3://results/md",
                  "--prompt", f"@{prompt}")  # fmt: skip

    (body,) = [body for _, body in cloud.transformed.sent]
    assert ran.status == 0, ran.err
    assert members_from(body, ())["prompt"] == ("сумма " * 700).strip()


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


def test_other_options_are_another_job(chandra, put, cloud, project):
    project(BUCKETS + "[network]\nisolation = false\n")
    put("a.pdf")

    for prompt in ("x", "x", "y"):
        chandra(
            "transform", "start", "s3://inbox/", "s3://results/md", "--prompt", prompt
        )

    assert len(cloud.transformed.sent) == 2


def test_unreadable_manifest_line_is_reported_with_code(
    chandra, put, cloud, wire, project, tmp_path
):
    project(BUCKETS + "[network]\nisolation = false\n")
    put("a.pdf")
    for bucket in ("closed", "foreign"):
        wire.call("s3", "create_bucket", Bucket=bucket)
        put("x.pdf", bucket=bucket)
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}
    wire.call(
        "s3",
        "put_bucket_policy",
        Bucket="closed",
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}),
    )
    uris = [f"s3://{place}" for place in ("inbox/gone.pdf", "closed/x.pdf")]
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(
        "".join(
            json.dumps({"document": uri}) + "\n"
            for uri in ("s3://inbox/a.pdf", *uris, "s3://foreign/x.pdf")
        )
    )

    ran = chandra("transform", "start", str(manifest), "s3://results/md")

    assert ran.status == 1, ran.err
    assert [json.loads(body) for _, body in cloud.transformed.sent] == [
        {"s3_uri": "s3://inbox/a.pdf"}
    ]
    assert "1 of 1 documents read" in ran.out
    assert (
        f"1 failed with document_not_found: there is no such object\n  {uris[0]}"
        in ran.out
    )
    assert "2 failed with document_forbidden" in ran.out
    assert f"  {uris[1]}: these credentials may not read it" in ran.out
    assert "  s3://foreign/x.pdf: role ocr-execution may not read there" in ran.out


def test_manifest_needs_a_container_with_network(chandra, put, cloud, tmp_path):
    put("a.pdf")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"document": "s3://inbox/a.pdf"}\n')

    ran = chandra("transform", "start", str(manifest), "s3://results/md")

    assert ran.status == 2
    assert "network.isolation = true keeps it from S3" in ran.err
    assert cloud.jobs == {}


@pytest.mark.slow
def test_a_job_is_watched_for_as_long_as_it_takes(chandra, put, cloud, at):
    put("scans/a.pdf")
    cloud.num_questions = 150
    began = at.now

    ran = chandra(*RUN)

    assert ran.status == 0, ran.err
    assert at.now - began > 3600
    assert "[1 h 10 min] InProgress" in ran.out


def test_waiting_ends_and_the_job_goes_on(chandra, put, cloud):
    put("scans/a.pdf")
    cloud.num_questions = 1000

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
    assert f"transform job {name} goes on without us, and is paid for" in ran.err
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


def test_the_same_command_joins_a_job_that_is_running(chandra, put, cloud):
    put("scans/a.pdf")
    chandra(*RUN, "--no-wait")

    ran = chandra(*RUN)

    assert ran.status == 0, ran.err
    assert "is doing this already" in ran.out
    assert len(cloud.jobs) == 1


def test_stopped_job_is_continued(chandra, put, cloud, wire):
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
    ("extra", "sentence"),
    [
        ('instance_type = "ml.p5.48xlarge"\n', "does not run on ml.p5.48xlarge"),
        ('instance_type = "ml.g7e.2xlarge"\n', "g4dn, g5, g6, g6e"),
        ('instance_type = "ml.g4dn.xlarge"\n', "T4 with 16 GB"),
        ('ami = "al2-ami-sagemaker-batch-gpu-470"\n', "would die without a log line"),
        ('weights = "pull"\n', "network.isolation = true keeps it"),
        (
            "[transform.environment]\n" + "".join(f"A{n} = 1\n" for n in range(17)),
            "a job takes 16 variables, not 17",
        ),
    ],
)
def test_failing_jobs_are_rejected_before_they_cost(
    chandra, put, cloud, project, extra, sentence
):
    put("scans/a.pdf")
    project(BUCKETS + extra)

    ran = chandra(*RUN)

    assert ran.status == 2
    assert sentence in ran.err
    assert cloud.jobs == {}


def test_an_image_for_cuda_13_is_refused(chandra, put, cloud, project, tmp_path):
    put("scans/a.pdf")
    path: Path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("[model]", 'cuda = "13.0"\n[model]'))

    ran = chandra(*RUN)

    assert ran.status == 2
    assert "driver 535" in ran.err


def test_a_tar_that_is_not_there_is_asked_for(chandra, put, wire):
    put("scans/a.pdf")
    wire.call("s3", "delete_object", Bucket="weights", Key=TAR)

    ran = chandra(*RUN)

    assert ran.status == 2
    assert "chandra-sagemaker model stage --tar" in ran.err


def test_a_bucket_that_the_role_does_not_reach_is_named(chandra, put, project):
    put("scans/a.pdf")
    project('[transform]\nbuckets = ["inbox"]\n')

    ran = chandra(*RUN)

    assert ran.status == 2
    assert "reaches no documents in bucket results" in ran.err


def test_a_quota_of_zero_is_refused(chandra, put, cloud):
    put("scans/a.pdf")
    cloud.limits = {"ml.g6e.2xlarge": 0}

    ran = chandra(*RUN)

    assert ran.status == 2
    assert "may run 0 ml.g6e.2xlarge for transform jobs" in ran.err
    assert "request-service-quota-increase" in ran.err


def test_object_above_100_mb_is_left_out_and_reported(chandra, put, wire, cloud):
    put("scans/a.pdf")
    put("scans/b.pdf", bytes(101 * 1024 * 1024))

    ran = chandra(*RUN)

    assert ran.status == 1
    assert [key for key, _ in cloud.transformed.sent] == ["a.pdf"]
    assert "1 failed with document_too_large" in ran.out
    assert "name it in a manifest" in ran.out

    put("md/b.pdf.out", bucket="results")
    put("scans/c.pdf")
    put("md/c.pdf.out", bucket="results")
    again = chandra(*RUN)

    assert again.status == 1
    assert "1 failed with document_too_large" in again.out
    assert "nothing is left to read" in again.out


# The model, the list of the objects, what they are, and the job itself.
@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_interrupted_start_is_completed_by_the_next(
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
