"""Batch jobs started by whole commands, against a local AWS over HTTP."""

from __future__ import annotations

import json

from handler.http.json_body import parse_members
from tests.deploy.batch.transformer import (
    START_COMMAND,
    TAR_KEY,
    TRANSFORM_CONFIG,
    get_last_job_request,
    list_keys,
)
from tests.deploy.contents import PDF


def test_documents_of_bucket_are_read_into_bucket(
    chandra, upload_document, wire, cloud
):
    upload_document("scans/a.pdf")
    upload_document("scans/sub/b.png")

    result = chandra(*START_COMMAND)

    assert result.status == 0, result.err + result.out
    assert list_keys(wire) == ["md/a.pdf.out", "md/sub/b.png.out"]
    assert "2 documents, about" in result.out
    assert "$2.80 an hour" in result.out
    assert "InProgress: 0 of 2 documents" in result.out
    assert "2 of 2 documents read" in result.out
    assert "pages read: 4" in result.out


def test_request_leaves_no_default_to_sagemaker(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")

    chandra(*START_COMMAND, "--format", "json")

    request = get_last_job_request(cloud)
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


def test_model_of_job_gets_weights_from_tar(chandra, upload_document, cloud, wire):
    upload_document("scans/a.pdf")

    chandra(*START_COMMAND)

    model = wire.call(
        "sagemaker",
        "describe_model",
        ModelName=get_last_job_request(cloud)["ModelName"],
    )["PrimaryContainer"]
    assert model["ModelDataUrl"] == f"s3://weights/{TAR_KEY}"
    assert "ModelDataSource" not in model
    assert model["Environment"]["SERVE_USE"] == "batch"


def test_container_with_network_downloads_weights(
    chandra, upload_document, cloud, wire, project
):
    upload_document("scans/a.pdf")
    project(TRANSFORM_CONFIG + 'weights = "pull"\n[network]\nisolation = false\n')

    result = chandra(*START_COMMAND)

    model = wire.call(
        "sagemaker",
        "describe_model",
        ModelName=get_last_job_request(cloud)["ModelName"],
    )["PrimaryContainer"]
    assert result.status == 0, result.err
    assert "ModelDataUrl" not in model
    assert (
        model["Environment"]["MODEL_S3_URI"]
        == "s3://weights/models/datalab-to/chandra/0123abc/"
    )


def test_mixed_types_use_the_generic_content_type(chandra, upload_document, cloud):
    upload_document("scans/a.pdf")
    upload_document("scans/b.png")

    chandra(*START_COMMAND)

    assert (
        get_last_job_request(cloud)["TransformInput"]["ContentType"]
        == "application/octet-stream"
    )


def test_equal_files_are_uploaded_once(chandra, upload_document, cloud, wire, tmp_path):
    folder = tmp_path / "scans"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.pdf").write_bytes(PDF + b"fine")
    (folder / "sub" / "b.pdf").write_bytes(PDF + b"broken")

    command = chandra("transform", "start", str(folder), "s3://results/md")
    cloud.calls.clear()
    (folder / "c.pdf").write_bytes(PDF + b"fine too")
    chandra("transform", "start", str(folder), "s3://results/md")

    assert command.status == 1
    assert "uploading 2 files" in command.out
    assert "  sub/b.pdf" in command.out
    # One file, the job's list and its work, and the one result.
    assert cloud.changes.count("s3:PUT") == 4
    assert sorted(key.rpartition("/")[2] for key in list_keys(wire)) == [
        "a.pdf.out",
        "c.pdf.out",
    ]


def test_manifest_line_becomes_one_request(
    chandra, upload_document, cloud, project, tmp_path
):
    project(TRANSFORM_CONFIG + "[network]\nisolation = false\n")
    upload_document("a.pdf")
    upload_document("b.pdf")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(
        '{"document": "s3://inbox/a.pdf", "pages": "1-5"}\n'
        '{"document": "s3://inbox/b.pdf"}\n'
    )

    result = chandra("transform", "start", str(manifest), "s3://results/md")

    bodies = sorted(body for _, body in cloud.transformed.sent)
    assert result.status == 0, result.err
    assert [json.loads(body) for body in bodies] == [
        {"s3_uri": "s3://inbox/a.pdf", "pages": "1-5"},
        {"s3_uri": "s3://inbox/b.pdf"},
    ]
    assert (
        get_last_job_request(cloud)["TransformInput"]["ContentType"]
        == "application/json"
    )
    assert get_last_job_request(cloud)["Environment"] == {"DOCUMENT_BUCKETS": "inbox"}


def test_documents_with_options_become_requests(
    chandra, upload_document, cloud, project
):
    project(TRANSFORM_CONFIG + "[network]\nisolation = false\n")
    upload_document("a.pdf")

    result = chandra("transform", "start", "s3://inbox/", "s3://results/md",
                  "--prompt", "x; ü", "--max-attempts", "1")  # fmt: skip

    (body,) = [body for _, body in cloud.transformed.sent]
    assert result.status == 0, result.err
    assert json.loads(body) == {
        "s3_uri": "s3://inbox/a.pdf",
        "prompt": "x; ü",
        "max_attempts": 1,
    }
    assert get_last_job_request(cloud)["Environment"] == {"DOCUMENT_BUCKETS": "inbox"}


def test_long_prompt_is_sent_without_escapes(
    chandra, upload_document, cloud, project, tmp_path
):
    project(TRANSFORM_CONFIG + "[network]\nisolation = false\n")
    upload_document("a.pdf")
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("сумма " * 700, "utf-8-sig")

    result = chandra("transform", "start", "s3://inbox/", "s3://results/md",
                  "--prompt", f"@{prompt}")  # fmt: skip

    (body,) = [body for _, body in cloud.transformed.sent]
    assert result.status == 0, result.err
    # With escapes, the prompt would be above the limit of `parse_members`.
    assert parse_members(body, ())["prompt"] == ("сумма " * 700).strip()


def test_other_options_start_another_job(chandra, upload_document, cloud, project):
    project(TRANSFORM_CONFIG + "[network]\nisolation = false\n")
    upload_document("a.pdf")

    for prompt in ("x", "x", "y"):
        chandra(
            "transform", "start", "s3://inbox/", "s3://results/md", "--prompt", prompt
        )

    assert len(cloud.transformed.sent) == 2


def test_unreadable_manifest_line_is_reported_with_code(
    chandra, upload_document, cloud, wire, project, tmp_path
):
    project(TRANSFORM_CONFIG + "[network]\nisolation = false\n")
    upload_document("a.pdf")
    for bucket in ("closed", "foreign"):
        wire.call("s3", "create_bucket", Bucket=bucket)
        upload_document("x.pdf", bucket=bucket)
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

    result = chandra("transform", "start", str(manifest), "s3://results/md")

    assert result.status == 1, result.err
    assert [json.loads(body) for _, body in cloud.transformed.sent] == [
        {"s3_uri": "s3://inbox/a.pdf"}
    ]
    assert "1 of 1 documents read" in result.out
    assert (
        f"1 failed with document_not_found: there is no such object\n  {uris[0]}"
        in result.out
    )
    assert "2 failed with document_forbidden" in result.out
    assert f"  {uris[1]}: these credentials may not read it" in result.out
    assert (
        "  s3://foreign/x.pdf: role ocr-execution may not read its bucket" in result.out
    )


def test_object_above_100_mb_is_left_out_and_reported(
    chandra, upload_document, wire, cloud
):
    upload_document("scans/a.pdf")
    upload_document("scans/b.pdf", bytes(101 * 1024 * 1024))

    result = chandra(*START_COMMAND)

    assert result.status == 1
    assert [key for key, _ in cloud.transformed.sent] == ["a.pdf"]
    assert "1 failed with document_too_large" in result.out
    assert "name it in a manifest" in result.out

    upload_document("md/b.pdf.out", bucket="results")
    upload_document("scans/c.pdf")
    upload_document("md/c.pdf.out", bucket="results")
    second_result = chandra(*START_COMMAND)

    assert second_result.status == 1
    assert "1 failed with document_too_large" in second_result.out
    assert "no document is left to read" in second_result.out
