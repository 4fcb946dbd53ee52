"""Weights in S3: uploads, parts, manifests and verification."""

from __future__ import annotations

import io
import json
import random
import tarfile

import pytest

from deploy.errors import DeployError, ResourceFailedError
from deploy.weights.files import MANIFEST, read_weights, write_tar
from deploy.weights.store import Store
from tests.deploy.weights.fake_s3 import (
    BUCKET,
    MIB,
    OTHER_CONFIG,
    create_store,
    read_object,
    stage_folder,
)


def test_large_file_is_uploaded_in_parts(bucket, wire, folder, large):
    progress: list[int] = []

    stage_folder(wire, folder, progress)

    assert read_object(wire, "p/model.safetensors") == large.read_bytes()
    assert [n for n in progress if n > MIB] == [5 * MIB, 10 * MIB, 11 * MIB]


def test_existing_files_are_not_uploaded_again(bucket, wire, folder, cloud):
    stage_folder(wire, folder)
    cloud.calls.clear()

    assert stage_folder(wire, folder) == 0
    assert "s3:PUT" not in cloud.calls


def test_weights_are_encrypted_with_kms_key(bucket, wire, folder):
    weights = read_weights(folder, "m", "r")
    store = Store(wire, BUCKET, kms_key="alias/ocr")

    store.stage(weights, "p/", "ocr", lambda *_: None)

    head = wire.call("s3", "head_object", Bucket=BUCKET, Key="p/config.json")
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"].endswith("alias/ocr")


def test_changed_file_is_uploaded_again(bucket, wire, folder):
    stage_folder(wire, folder)
    wire.call("s3", "delete_object", Bucket=BUCKET, Key="p/" + MANIFEST)
    (folder / "config.json").write_text(OTHER_CONFIG)

    assert stage_folder(wire, folder) == 1
    assert read_object(wire, "p/config.json") == OTHER_CONFIG.encode()


def test_interrupted_upload_continues_with_its_parts(bucket, wire, large, cloud):
    store = create_store(wire)

    def give_up(key, done, total):
        if done > 5 * MIB:
            raise ResourceFailedError("connection lost")

    with pytest.raises(DeployError):
        store.upload("p/big", large, "a digest", give_up)
    cloud.calls.clear()
    store.upload("p/big", large, "a digest", lambda *_: None)

    # One part was missing; a new upload would have put three.
    assert cloud.calls.count("s3:PUT") == 1
    assert read_object(wire, "p/big") == large.read_bytes()
    assert store.holds("p/big", 11 * MIB, "a digest")


def test_manifest_lists_all_files(bucket, wire, folder):
    stage_folder(wire, folder)

    manifest = json.loads(read_object(wire, "p/" + MANIFEST))

    assert manifest["deployment"] == "ocr"
    assert manifest["revision"] == "r"
    assert [file["name"] for file in manifest["files"]] == [
        "config.json",
        "model.safetensors",
        "sub/tokenizer.json",
    ]


def test_verify_finds_replaced_file(bucket, wire, folder):
    stage_folder(wire, folder)
    wire.call("s3", "put_object", Bucket=BUCKET, Key="p/config.json", Body=b"[]")

    with pytest.raises(ResourceFailedError, match=r"config\.json"):
        create_store(wire).verify(read_weights(folder, "m", "r"), "p/")


def test_interrupted_tar_continues_with_its_parts(
    bucket, wire, folder, large, cloud, intercept
):
    # What gzip makes no smaller.
    large.write_bytes(random.Random(0).randbytes(12 * MIB))
    weights = read_weights(folder, "m", "r")
    sent: list[int] = []

    def give_up(params):
        if params["PartNumber"] == 2 and len(sent) == 1:
            raise KeyboardInterrupt
        sent.append(params["PartNumber"])

    intercept("s3", "UploadPart", give_up)

    def upload_tar(progress):
        with create_store(wire).open_tar(weights.sha256, "p.tar.gz") as target:
            write_tar(weights, target, progress)

    with pytest.raises(KeyboardInterrupt):
        upload_tar(lambda *_: None)
    is_there_too_early = create_store(wire).holds_tar(weights.sha256, "p.tar.gz")
    sent.append(0)
    progress: list[int] = []
    upload_tar(lambda done, total: progress.append(done))

    assert sent == [1, 0, 2, 3]
    assert progress[-1] == weights.size
    assert not is_there_too_early
    assert create_store(wire).holds_tar(weights.sha256, "p.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(read_object(wire, "p.tar.gz"))) as tar:
        content = tar.extractfile("model.safetensors")
        assert content is not None
        assert content.read() == large.read_bytes()


def test_parts_of_other_bytes_are_not_reused(bucket, wire, large):
    """The metadata of an upload are fixed when it is created."""
    store = create_store(wire)

    def give_up(key, done, total):
        raise ResourceFailedError("connection lost")

    with pytest.raises(DeployError):
        store.upload("p/big", large, "old", give_up)
    large.write_bytes(b"x" * (11 * MIB))
    store.upload("p/big", large, "new", lambda *_: None)

    assert read_object(wire, "p/big") == large.read_bytes()
    assert store.holds("p/big", 11 * MIB, "new")
    unfinished = wire.call("s3", "list_multipart_uploads", Bucket=BUCKET)
    assert unfinished.get("Uploads", []) == []
