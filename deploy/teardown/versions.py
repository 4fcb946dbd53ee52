"""Object versions and unfinished uploads in S3 that `destroy --all` deletes.

A versioned bucket keeps, and charges for, all versions of an object that is deleted by
its key alone. In an unversioned bucket, each object has one version, `null`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from deploy.aws.client import AWSClient
from deploy.config import DeployConfig
from deploy.errors import NotFoundError
from deploy.teardown.plan import ObjectVersion, UnfinishedUpload
from deploy.weights.files import MANIFEST, STAGING, TAR

__all__ = ["StagedObjects", "find_staged_objects", "list_uploads", "list_versions"]


def list_versions(
    aws: AWSClient, bucket: str | None, prefix: str
) -> tuple[ObjectVersion, ...]:
    """Return all object versions below a prefix, and then all delete markers.

    The versions of a key are ordered from new to old. The result is empty if the bucket
    is None or does not exist.
    """
    if bucket is None:
        return ()
    try:
        versions = [
            ObjectVersion(
                item["Key"],
                item["VersionId"],
                is_current=is_there and item["IsLatest"],
                is_deletion=not is_there,
            )
            for kind, is_there in (("Versions", True), ("DeleteMarkers", False))
            for item in aws.pages(
                "s3", "list_object_versions", kind, Bucket=bucket, Prefix=prefix
            )
        ]
    except NotFoundError:
        return ()
    return tuple(versions)


def list_uploads(
    aws: AWSClient, bucket: str | None, prefix: str
) -> tuple[UnfinishedUpload, ...]:
    """Return the unfinished multipart uploads below a prefix.

    Lists of objects do not show them. The result is empty if the bucket is None or does
    not exist.
    """
    if bucket is None:
        return ()
    try:
        uploads = [
            UnfinishedUpload(item["Key"], item["UploadId"])
            for item in aws.pages(
                "s3", "list_multipart_uploads", "Uploads", Bucket=bucket, Prefix=prefix
            )
        ]
    except NotFoundError:
        return ()
    return tuple(uploads)


@dataclass(frozen=True, slots=True)
class StagedObjects:
    """Object versions that `model stage` wrote, and its unfinished uploads."""

    versions: tuple[ObjectVersion, ...] = ()
    uploads: tuple[UnfinishedUpload, ...] = ()


def find_staged_objects(aws: AWSClient, config: DeployConfig) -> StagedObjects:
    """Return what a deployment staged: the objects beside its marker files.

    The marker file of a prefix is read to see which deployment wrote it. Marker files
    come last, so that a `destroy` that was interrupted can find the rest by them.
    """
    bucket = config.model.bucket
    root = f"{config.model.prefix.strip('/')}/".lstrip("/")
    versions = list_versions(aws, bucket, root)
    own_prefixes = [
        (prefix, below)
        for prefix, mark in _find_marks(versions).items()
        if (below := _below(versions, prefix, mark))
        and _is_marked_as_ours(aws, config, mark)
    ]
    staged = [version for _, below in own_prefixes for version in below]
    return StagedObjects(
        tuple(sorted(staged, key=_deletion_order)),
        tuple(
            upload
            for upload in list_uploads(aws, bucket, root)
            if any(_belongs_to(upload.key, prefix) for prefix, _ in own_prefixes)
        ),
    )


def _deletion_order(version: ObjectVersion) -> tuple[bool, bool, bool]:
    """Return the sort key with which marker files are deleted last."""
    return (_is_mark(version.key), *_rank(version))


def _is_mark(key: str) -> bool:
    return key.rpartition("/")[2] in (MANIFEST, STAGING)


def _belongs_to(key: str, prefix: str) -> bool:
    # The archive of `model stage --tar` is named after the prefix.
    return key == prefix.rstrip("/") + TAR or key.startswith(prefix)


def _find_marks(versions: tuple[ObjectVersion, ...]) -> dict[str, ObjectVersion]:
    """Return the marker file of each prefix, by prefix.

    It is the manifest, or the file that stands for it until all files are uploaded. A
    current version has precedence over an older one, and then the manifest over the
    other file.
    """
    marks: dict[str, ObjectVersion] = {}
    for version in versions:
        prefix, slash, _ = version.key.rpartition("/")
        if not slash or not _is_mark(version.key) or version.is_deletion:
            continue
        mark = marks.setdefault(prefix + slash, version)
        if _rank(version) > _rank(mark):
            marks[prefix + slash] = version
    return marks


def _rank(mark: ObjectVersion) -> tuple[bool, bool]:
    """Return the sort key of marker files: a greater one has precedence."""
    return mark.is_current, mark.key.endswith(MANIFEST)


def _below(
    versions: tuple[ObjectVersion, ...], prefix: str, mark: ObjectVersion
) -> list[ObjectVersion]:
    """Return the versions of a prefix with its archive.

    The list is empty if the marker file was deleted and current objects exist.
    """
    below = [version for version in versions if _belongs_to(version.key, prefix)]
    if not mark.is_current and any(version.is_current for version in below):
        # The marker was deleted, so another program uploaded the current objects.
        return []
    return below


def _is_marked_as_ours(
    aws: AWSClient, config: DeployConfig, mark: ObjectVersion
) -> bool:
    """Read a marker file, and return True if it names this deployment."""
    answer = aws.call(
        "s3",
        "get_object",
        Bucket=config.model.bucket,
        Key=mark.key,
        VersionId=mark.version,
    )
    try:
        content: Any = json.loads(answer["Body"].read())
    except ValueError:
        # `model stage` did not write it.
        return False
    return isinstance(content, dict) and content.get("deployment") == config.name
