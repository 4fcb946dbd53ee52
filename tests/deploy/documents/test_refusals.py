"""Every command refuses the same documents before they are queued or paid for."""

from __future__ import annotations

import json

import pytest

from deploy.documents.document import ArchiveState
from deploy.documents.finding import find_documents
from deploy.documents.objects import S3Objects, parse_archive_state
from deploy.documents.rejection import NO_DOCUMENT
from tests.deploy.batch.transformer import create_batch_resources
from tests.deploy.contents import PDF, PNG
from tests.deploy.queue.queued import FakeQueue
from tests.deploy.weights.fake_s3 import FakeS3
from tests.documents import as_jpeg, text_page

CONFIG = """
[network]
isolation = false
[transform]
buckets = ["inbox", "results"]
[asynchronous]
bucket = "exchange"
sources = ["inbox"]
"""
JPEG = as_jpeg(text_page(size=(32, 32)))


@pytest.fixture
def upload_object(cloud, wire, project, at):
    """Set up queue, machines and endpoint; return a function to upload an object."""
    project(CONFIG)
    create_batch_resources(cloud, wire, at.now)
    wire.call("s3", "create_bucket", Bucket="exchange")
    cloud.invoked = FakeQueue(wire)

    def upload_object(key, body, **more):
        wire.call("s3", "put_object", Bucket="inbox", Key=key, Body=body, **more)

    return upload_object


def restore(wire, key):
    wire.call(
        "s3", "restore_object", Bucket="inbox", Key=key, RestoreRequest={"Days": 1}
    )


@pytest.fixture
def page(tmp_path):
    """Return the path of a JPEG with the suffix of a PNG."""
    path = tmp_path / "page.png"
    path.write_bytes(JPEG)
    return path


# The type


def test_submitted_file_has_detected_type(chandra, upload_object, cloud, page):
    result = chandra("async", "submit", str(page))

    assert result.status == 0, result.err
    assert cloud.invoked.accepted[0].headers["content_type"] == "image/jpeg"


def test_submitted_object_has_detected_type(chandra, upload_object, cloud):
    upload_object("scans/page.png", JPEG)

    chandra("async", "submit", "s3://inbox/scans/")

    assert json.loads(cloud.invoked.accepted[0].body or b"{}") == {}
    assert cloud.invoked.accepted[0].headers["content_type"] == "image/jpeg"


def test_job_uses_detected_type(chandra, upload_object, cloud, page):
    chandra("transform", "start", str(page), "s3://results/md")

    (job,) = cloud.jobs.values()
    assert job.request["TransformInput"]["ContentType"] == "image/jpeg"


def test_invoke_uses_detected_type(chandra, upload_object, cloud, page):
    content_types = []

    def answer(environ, body):
        content_types.append(environ["CONTENT_TYPE"])
        return "200 OK", [], b"# Title"

    cloud.invoked = answer

    assert chandra("invoke", str(page)).status == 0
    assert content_types == ["image/jpeg"]


def test_every_command_refuses_other_files_alike(
    chandra, upload_object, cloud, tmp_path
):
    path = tmp_path / "page.pdf"
    path.write_bytes(b"<html>not found</html>")

    queued = chandra("async", "submit", str(path), "--json")
    job = chandra("transform", "start", str(path), "s3://results/md", "--json")
    invoked = chandra("invoke", str(path), "--json")

    expected = {"code": "unsupported_media_type", "reason": NO_DOCUMENT}
    assert queued.status == job.status == invoked.status == 1
    assert queued.json["refused"] == {str(path): expected}
    assert job.json["left_out"] == [{"document": str(path), **expected}]
    error = invoked.json["error"]
    assert error["message"] == f"{path}: {NO_DOCUMENT} (unsupported_media_type)"
    assert error["code"] == "unsupported_media_type"
    assert cloud.jobs == {}
    assert cloud.invoked.accepted == []


def test_object_of_other_type_is_not_sent(chandra, upload_object, cloud):
    upload_object("scans/a.pdf", PDF)
    upload_object("scans/b.pdf", b"<html>")

    queued = chandra("async", "submit", "s3://inbox/scans/", "--json")
    job = chandra(
        "transform", "start", "s3://inbox/scans/", "s3://results/md", "--json"
    )

    assert queued.status == job.status == 1
    assert list(queued.json["refused"]) == ["s3://inbox/scans/b.pdf"]
    assert len(cloud.invoked.accepted) == 1
    assert [key for key, _ in cloud.transformed.sent] == ["a.pdf"]


def test_forbidden_object_gets_the_type_of_its_name():
    bucket = FakeS3({"s3://in/a.png": JPEG}, closed={"s3://in/a.png"})

    (document,) = find_documents(["s3://in/"], bucket).documents

    assert document.media_type == "image/png"


def test_documents_without_suffix_are_found(tmp_path):
    (tmp_path / "scan").write_bytes(PDF)
    (tmp_path / "notes.txt").write_bytes(b"about %PDF-1.7")

    result = find_documents([str(tmp_path)], FakeS3())

    assert [d.name for d in result.documents] == ["scan"]
    assert [r.reason for r in result.refused] == ["not a type we read: .txt"]


# Archives


def test_archived_objects_start_no_machine(chandra, upload_object, wire, cloud):
    upload_object("cold/glacier.pdf", PDF, StorageClass="GLACIER")
    upload_object("cold/deep.pdf", PDF + b" ", StorageClass="DEEP_ARCHIVE")

    queued = chandra("async", "submit", "s3://inbox/cold/", "--json")
    job = chandra("transform", "start", "s3://inbox/cold/", "s3://results/md", "--json")

    assert queued.status == job.status == 1
    assert {each["code"] for each in queued.json["refused"].values()} == {
        "document_forbidden"
    }
    assert (
        "aws s3api restore-object --bucket inbox --key cold/deep.pdf"
        in (queued.json["refused"]["s3://inbox/cold/deep.pdf"]["reason"])
    )
    assert len(job.json["left_out"]) == 2
    assert cloud.jobs == {}
    assert cloud.invoked.accepted == []


def test_only_the_restored_object_is_found(upload_object, wire, tmp_path):
    upload_object("cold/restored.pdf", PDF, StorageClass="DEEP_ARCHIVE")
    upload_object("cold/deep.pdf", PDF + b" ", StorageClass="DEEP_ARCHIVE")
    restore(wire, "cold/restored.pdf")
    manifest = tmp_path / "documents.jsonl"
    uris = [f"s3://inbox/cold/{name}.pdf" for name in ("restored", "deep")]
    manifest.write_text("\n".join(json.dumps({"document": uri}) for uri in uris))

    in_prefix = find_documents(["s3://inbox/cold"], S3Objects(wire))
    in_manifest = find_documents([str(manifest)], S3Objects(wire))

    for result in (in_prefix, in_manifest):
        assert [d.source for d in result.documents] == [uris[0]]
        assert [r.source for r in result.refused] == [uris[1]]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, None),
        ({"StorageClass": "GLACIER_IR"}, None),
        ({"StorageClass": "INTELLIGENT_TIERING"}, None),
        ({"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "ARCHIVE_ACCESS"},
         ArchiveState.ARCHIVED),
        ({"ArchiveStatus": "DEEP_ARCHIVE_ACCESS", "Restore": 'ongoing-request="true"'},
         ArchiveState.RESTORING),
        ({"StorageClass": "GLACIER"}, ArchiveState.ARCHIVED),
        ({"StorageClass": "GLACIER", "Restore": 'ongoing-request="true"'},
         ArchiveState.RESTORING),
        ({"StorageClass": "DEEP_ARCHIVE",
          "Restore": 'ongoing-request="false", expiry-date="Fri, 1 Jan 2027"'}, None),
    ],
)  # fmt: skip
def test_archive_state_is_read_from_head_object(answer, expected):
    assert parse_archive_state(answer) == expected


# Hidden files


def test_hidden_files_are_counted_and_can_be_included(
    chandra, upload_object, cloud, tmp_path
):
    folder = tmp_path / "scans"
    (folder / ".old").mkdir(parents=True)
    (folder / "a.pdf").write_bytes(PDF)
    (folder / ".b.png").write_bytes(PNG)
    (folder / ".old" / "c.pdf").write_bytes(PDF + b"c")

    without_hidden = chandra("async", "submit", str(folder))
    job = chandra("transform", "start", str(folder), "s3://results/md")
    with_hidden = chandra("async", "submit", str(folder), "--hidden", "--json")

    words = "left out: 2 hidden files (names with a dot in front): --hidden includes"
    assert words in without_hidden.out
    assert words in job.out
    assert len(cloud.transformed.sent) == 1
    assert with_hidden.json["submitted"] == 2
    assert with_hidden.json["hidden"] == 0
