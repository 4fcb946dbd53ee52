"""Objects of S3 in every version of theirs: those that are there, and those that were.

A bucket that keeps versions keeps, and charges for, what is deleted by its key alone.
In one that does not, each object has the one version `null`, deleted like any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deploy.aws.client import AWSClient
from deploy.config import DeployConfig
from deploy.errors import NotFoundError
from deploy.teardown import ObjectVersion
from deploy.weights import MANIFEST, TAR

__all__ = ["staged_versions", "versions_below"]


def versions_below(
    aws: AWSClient, bucket: str | None, prefix: str
) -> tuple[ObjectVersion, ...]:
    """Newest first of each key; a bucket that is not there has none."""
    if bucket is None:
        return ()
    try:
        return tuple(
            ObjectVersion(
                item["Key"], item["VersionId"], kind == "Versions" and item["IsLatest"]
            )
            for kind in ("Versions", "DeleteMarkers")
            for item in aws.pages(
                "s3", "list_object_versions", kind, Bucket=bucket, Prefix=prefix
            )
        )
    except NotFoundError:
        return ()


def staged_versions(aws: AWSClient, config: DeployConfig) -> tuple[ObjectVersion, ...]:
    """Below every prefix whose manifest names this deployment; manifests come last.

    Whoever is stopped between two calls finds the rest by its manifest.
    """
    root = f"{config.model.prefix.strip('/')}/".lstrip("/")
    found = versions_below(aws, config.model.bucket, root)
    ours = [
        version
        for manifest in _newest_manifests(found)
        if _names(aws, config, manifest)
        for version in _of_prefix(found, manifest)
    ]
    return tuple(sorted(ours, key=lambda version: version.key.endswith(MANIFEST)))


def _newest_manifests(found: tuple[ObjectVersion, ...]) -> Iterator[ObjectVersion]:
    seen = set()
    for version in found:
        if version.key.endswith(f"/{MANIFEST}") and version.key not in seen:
            seen.add(version.key)
            yield version


def _of_prefix(
    found: tuple[ObjectVersion, ...], manifest: ObjectVersion
) -> list[ObjectVersion]:
    prefix = manifest.key.removesuffix(MANIFEST)
    # What `model stage --tar` wrote has the prefix's name.
    tar = prefix.rstrip("/") + TAR
    below = [v for v in found if v.key == tar or v.key.startswith(prefix)]
    if not manifest.is_current and any(version.is_current for version in below):
        # Deleted once, and what lies there now was put there by somebody else.
        return []
    return below


def _names(aws: AWSClient, config: DeployConfig, manifest: ObjectVersion) -> bool:
    answer = aws.call(
        "s3",
        "get_object",
        Bucket=config.model.bucket,
        Key=manifest.key,
        VersionId=manifest.version,
    )
    try:
        content: Any = json.loads(answer["Body"].read())
    except ValueError:
        # Of nobody's who wrote it with `model stage`.
        return False
    return isinstance(content, dict) and content.get("deployment") == config.name
