"""Batch jobs started by whole commands, against a local AWS over HTTP."""

from __future__ import annotations

import json

from handler.http.json_body import parse_members
from tests.deploy.batch.transformer import (
    BUCKETS,
    RUN,
    TAR,
    job,
    keys,
)
from tests.deploy.contents import PDF


def test_documents_of_bucket_are_read_into_bucket(chandra, put, wire, cloud):
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


def test_request_leaves_no_default_to_sagemaker(chandra, put, cloud):
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


def test_model_of_job_gets_weights_from_tar(chandra, put, cloud, wire):
    put("scans/a.pdf")

    chandra(*RUN)

    model = wire.call("sagemaker", "describe_model", ModelName=job(cloud)["ModelName"])[
        "PrimaryContainer"
    ]
    assert model["ModelDataUrl"] == f"s3://weights/{TAR}"
    assert "ModelDataSource" not in model
    assert model["Environment"]["SERVE_USE"] == "batch"


def test_container_with_network_downloads_weights(chandra, put, cloud, wire, project):
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


def test_mixed_types_use_the_generic_content_type(chandra, put, cloud):
    put("scans/a.pdf")
    put("scans/b.png")

    chandra(*RUN)

    assert job(cloud)["TransformInput"]["ContentType"] == "application/octet-stream"


def test_equal_files_are_uploaded_once(chandra, put, cloud, wire, tmp_path):
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


def test_manifest_line_becomes_one_request(chandra, put, cloud, project, tmp_path):
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


def test_long_prompt_is_sent_without_escapes(chandra, put, cloud, project, tmp_path):
    project(BUCKETS + "[network]\nisolation = false\n")
    put("a.pdf")
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("сумма " * 700, "utf-8-sig")

    ran = chandra("transform", "start", "s3://inbox/", "s3://results/md",
                  "--prompt", f"@{prompt}")  # fmt: skip

    (body,) = [body for _, body in cloud.transformed.sent]
    assert ran.status == 0, ran.err
    assert parse_members(body, ())["prompt"] == ("сумма " * 700).strip()


def test_other_options_start_another_job(chandra, put, cloud, project):
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
    assert "  s3://foreign/x.pdf: role ocr-execution may not read its bucket" in ran.out


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
    assert "no document is left to read" in again.out
