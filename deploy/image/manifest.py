"""Image manifests: which kind SageMaker takes, and how one becomes the other.

SageMaker takes Docker's version 2, schema 2, and refuses OCI's. Both name the same
blobs; only the names of their types differ, so nothing has to be pushed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.errors import NotFoundError, ResourceFailedError

__all__ = ["DOCKER", "INDEXES", "is_index", "platform_digest", "repaired"]

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYERS = {
    "application/vnd.oci.image.layer.v1.tar+gzip": (
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    ),
    "application/vnd.oci.image.layer.v1.tar": (
        "application/vnd.docker.image.rootfs.diff.tar"
    ),
}
LAYERS |= {docker: docker for docker in LAYERS.values()}


def is_index(manifest: Mapping[str, Any]) -> bool:
    """Names manifests, one a platform, in place of layers."""
    return "manifests" in manifest


def platform_digest(index: Mapping[str, Any]) -> str:
    """The image for the machines we run on; not the attestations beside it."""
    for entry in index["manifests"]:
        platform = entry.get("platform") or {"os": "linux", "architecture": "amd64"}
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return str(entry["digest"])
    raise NotFoundError(
        "the image has no linux/amd64 among its platforms",
        hint="chandra-sagemaker image push",
    )


def repaired(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The same blobs as a Docker manifest; annotations are dropped."""
    layers: Sequence[Mapping[str, Any]] = manifest["layers"]
    for layer in layers:
        if layer["mediaType"] not in LAYERS:
            raise ResourceFailedError(
                f"a layer is {layer['mediaType']}, which Docker manifests cannot name",
                hint="build again with gzip layers: chandra-sagemaker image push",
            )
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER,
        "config": _blob(manifest["config"], CONFIG),
        "layers": [_blob(layer, LAYERS[layer["mediaType"]]) for layer in layers],
    }


def _blob(entry: Mapping[str, Any], media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "size": entry["size"], "digest": entry["digest"]}
