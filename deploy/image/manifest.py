"""Image manifests, and the conversion from OCI to Docker.

SageMaker requires Docker's manifest version 2, schema 2, and rejects OCI manifests.
Both name the same blobs under different media types, so no blob has to be pushed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.errors import NotFoundError, ResourceFailedError
from deploy.image.configuration import WANTED_PLATFORM

__all__ = [
    "DOCKER",
    "describe_platforms",
    "find_platform_digest",
    "get_platform",
    "is_attestation",
    "is_index",
    "to_docker_manifest",
]

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
REFERENCE = "vnd.docker.reference.type"
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
    """Return whether a manifest lists manifests per platform instead of layers."""
    return "manifests" in manifest


def is_attestation(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of an index is a build attestation of BuildKit."""
    annotations = entry.get("annotations")
    kind = isinstance(annotations, dict) and annotations.get(REFERENCE)
    return kind == "attestation-manifest" or get_platform(entry) == "unknown/unknown"


def get_platform(entry: Mapping[str, Any]) -> str | None:
    """Return the platform in an entry of an index, such as linux/amd64.

    The variant is left out: linux/arm64/v8 becomes linux/arm64. Returns None if the
    entry has no platform.
    """
    platform = entry.get("platform")
    if not isinstance(platform, dict):
        return None
    return f"{platform.get('os')}/{platform.get('architecture')}"


def find_platform_digest(index: Mapping[str, Any]) -> str:
    """Return the digest of the first image in an index for our platform.

    An image without a platform counts too, an attestation does not. Raises
    NotFoundError if there is none.
    """
    images = [entry for entry in index["manifests"] if not is_attestation(entry)]
    for entry in images:
        if get_platform(entry) in (None, WANTED_PLATFORM):
            return str(entry["digest"])
    raise NotFoundError(
        f"the image is for {describe_platforms(index)}, and SageMaker's GPU machines "
        f"are {WANTED_PLATFORM}: there is no {WANTED_PLATFORM} among its platforms",
        hint=f"chandra-sagemaker image push builds one for {WANTED_PLATFORM}",
    )


def describe_platforms(index: Mapping[str, Any]) -> str:
    """Return the platforms of the images in an index, joined by "and"."""
    images = [entry for entry in index["manifests"] if not is_attestation(entry)]
    return " and ".join(str(get_platform(e)) for e in images) or "no platform"


def to_docker_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Docker manifest with the same blobs; annotations are dropped.

    Raises ResourceFailedError for a layer type that Docker manifests do not have.
    """
    layers: Sequence[Mapping[str, Any]] = manifest["layers"]
    for layer in layers:
        kind = layer.get("mediaType", "without a media type")
        if kind not in LAYERS:
            raise ResourceFailedError(
                f"a layer is {kind}, which Docker manifests cannot name",
                hint="build again with gzip layers: chandra-sagemaker image push",
            )
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER,
        "config": _build_descriptor(manifest["config"], CONFIG),
        "layers": [
            _build_descriptor(layer, LAYERS[layer["mediaType"]]) for layer in layers
        ],
    }


def _build_descriptor(entry: Mapping[str, Any], media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "size": entry["size"], "digest": entry["digest"]}
