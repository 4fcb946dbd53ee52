"""Deletion of object versions and unfinished uploads by `destroy --all`."""

from __future__ import annotations

import json

import pytest

from deploy.policies import caller_policy
from deploy.teardown.versions import find_staged_objects, list_uploads, list_versions
from deploy.weights.files import MANIFEST, STAGING, read_weights
from deploy.weights.store import Store
from tests.deploy.accounts import IDENTITY, configured
from tests.deploy.conftest import stage

BUCKET = "weights"
OURS = "models/datalab-to/chandra/0123abc/"
THEIRS = "models/datalab-to/chandra/theirs/"


@pytest.fixture
def versioned(cloud, wire, hub):
    """Stage weights into a versioned bucket, over an older file."""
    wire.call("s3", "create_bucket", Bucket=BUCKET)
    wire.call(
        "s3",
        "put_bucket_versioning",
        Bucket=BUCKET,
        VersioningConfiguration={"Status": "Enabled"},
    )
    put_object(wire, f"{OURS}config.json")
    stage(wire, hub)
    cloud.calls.clear()


def put_object(wire, key, content=b"old"):
    wire.call("s3", "put_object", Bucket=BUCKET, Key=key, Body=content)


def delete_object(wire, key):
    """Delete an object by its key alone, as the console does; its versions stay."""
    wire.call("s3", "delete_object", Bucket=BUCKET, Key=key)


def keys_of_versions(wire):
    return sorted(version.key for version in list_versions(wire, BUCKET, ""))


@pytest.mark.usefixtures("versioned")
def test_destroy_all_leaves_no_version_of_staged_weights(chandra, wire):
    put_object(wire, "builds/ocr/v1.zip")
    put_object(wire, "transforms/ocr/jobs/ocr-1/work.json")
    delete_object(wire, "transforms/ocr/jobs/ocr-1/work.json")

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert "delete 6 versions of 4 objects of staged weights" in ran.out
    assert "delete 1 object of build sources" in ran.out
    assert "delete 2 versions of 1 object of transform jobs" in ran.out
    assert keys_of_versions(wire) == []


@pytest.mark.usefixtures("versioned")
def test_versions_of_deleted_keys_are_found(chandra, wire):
    for version in find_staged_objects(wire, configured()).versions:
        if version.is_current:
            delete_object(wire, version.key)

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert keys_of_versions(wire) == []


@pytest.mark.usefixtures("versioned")
def test_versions_of_others_stay(chandra, wire):
    put_object(wire, f"{THEIRS}{MANIFEST}", json.dumps({"deployment": "ocr"}).encode())
    put_object(
        wire, f"{THEIRS}{MANIFEST}", json.dumps({"deployment": "other"}).encode()
    )
    put_object(wire, f"{THEIRS}config.json")
    put_object(wire, f"{THEIRS}config.json", b"{}")
    before = [key for key in keys_of_versions(wire) if key.startswith(THEIRS)]

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert keys_of_versions(wire) == before


@pytest.mark.usefixtures("versioned")
def test_versions_beside_new_objects_of_others_stay(chandra, wire):
    delete_object(wire, f"{OURS}{MANIFEST}")
    put_object(wire, f"{OURS}config.json", b"theirs")
    before = keys_of_versions(wire)

    chandra("destroy", "--all")

    assert keys_of_versions(wire) == before


@pytest.mark.usefixtures("versioned")
def test_manifest_is_deleted_last(wire):
    versions = find_staged_objects(wire, configured()).versions

    assert versions[-1].key == f"{OURS}{MANIFEST}"
    assert len({v.key for v in versions if v.key.endswith(MANIFEST)}) == 1


@pytest.mark.usefixtures("staged")
def test_unversioned_bucket_is_emptied(chandra, wire):
    ran = chandra("destroy", "--all")

    assert "delete 3 objects of staged weights" in ran.out
    assert keys_of_versions(wire) == []


def begin_upload(wire, key):
    """Start a multipart upload and do not complete it."""
    upload = wire.call("s3", "create_multipart_upload", Bucket=BUCKET, Key=key)
    wire.call(
        "s3",
        "upload_part",
        Bucket=BUCKET,
        Key=key,
        UploadId=upload["UploadId"],
        PartNumber=1,
        Body=b"part",
    )


def keys_of_uploads(wire):
    return sorted(upload.key for upload in list_uploads(wire, BUCKET, ""))


def interrupt_staging(wire, folder, deployment="ocr", revision="broken"):
    """Stage weights, and stop before the last file."""
    weights = read_weights(folder, "datalab-to/chandra", revision)
    prefix = f"models/datalab-to/chandra/{revision}/"

    class InterruptedStore(Store):
        def upload(self, key, path, sha256, progress):
            if key.endswith(".safetensors"):
                begin_upload(wire, key)
                raise KeyboardInterrupt
            super().upload(key, path, sha256, progress)

    with pytest.raises(KeyboardInterrupt):
        InterruptedStore(wire, BUCKET).stage(
            weights, prefix, deployment, lambda *_: None
        )
    return weights, prefix


@pytest.mark.usefixtures("staged")
def test_destroy_all_deletes_partly_staged_weights(chandra, wire, hub):
    interrupt_staging(wire, hub.folder)
    interrupt_staging(wire, hub.folder, "other", "theirs")
    begin_upload(wire, "documents/scan.pdf")
    begin_upload(wire, f"{OURS.rstrip('/')}.tar.gz")

    ran = chandra("destroy", "--all")

    assert ran.status == 0, ran.err
    assert (
        f"abort the unfinished upload of s3://weights/{OURS.rstrip('/')}.tar.gz"
        in ran.out
    )
    assert keys_of_versions(wire) == [f"{THEIRS}{STAGING}", f"{THEIRS}config.json"]
    assert keys_of_uploads(wire) == ["documents/scan.pdf", f"{THEIRS}model.safetensors"]


@pytest.mark.usefixtures("staged")
def test_staging_mark_is_deleted_after_staging(wire, hub):
    weights, prefix = interrupt_staging(wire, hub.folder)
    assert f"{prefix}{STAGING}" in keys_of_versions(wire)

    Store(wire, BUCKET).stage(weights, prefix, "ocr", lambda *_: None)

    assert not any(key.endswith(STAGING) for key in keys_of_versions(wire))


@pytest.mark.usefixtures("staged")
def test_leftover_staging_mark_is_deleted_by_next_staging(wire, hub):
    put_object(wire, f"{OURS}{STAGING}", b"{}")

    stage(wire, hub)

    assert not any(key.endswith(STAGING) for key in keys_of_versions(wire))


def test_caller_policy_allows_deleting_versions():
    exchange = {"bucket": "exchange"}
    allowed = {
        (action, resource)
        for statement in caller_policy(configured(asynchronous=exchange), IDENTITY)[
            "Statement"
        ]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }

    for bucket, prefix in (("weights", "models"), ("exchange", "async/ocr")):
        where = f"arn:aws:s3:::{bucket}"
        assert ("s3:ListBucketVersions", where) in allowed
        assert ("s3:DeleteObjectVersion", f"{where}/{prefix}/*") in allowed
    # `destroy` reads the deleted manifest to find the owner of the other versions.
    assert ("s3:GetObjectVersion", "arn:aws:s3:::weights/models/*") in allowed
