"""Conversion of manifests for SageMaker."""

from __future__ import annotations

import pytest

from deploy.errors import NotFoundError, ResourceFailedError
from deploy.image.manifest import (
    DOCKER,
    find_platform_digest,
    is_index,
    to_docker_manifest,
)
from tests.deploy.images import oci_index, oci_manifest


def test_blobs_get_docker_media_types():
    manifest = oci_manifest()

    docker = to_docker_manifest(manifest)

    assert docker["mediaType"] == DOCKER
    assert docker["config"]["mediaType"] == (
        "application/vnd.docker.container.image.v1+json"
    )
    assert docker["layers"] == [
        {
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "digest": manifest["layers"][0]["digest"],
            "size": manifest["layers"][0]["size"],
        }
    ]
    assert "annotations" not in docker


def test_docker_manifest_is_unchanged():
    docker = to_docker_manifest(oci_manifest())

    assert to_docker_manifest(docker) == docker


def test_layer_types_unknown_to_docker_are_refused():
    with pytest.raises(ResourceFailedError, match=r"tar\+zstd") as caught:
        to_docker_manifest(oci_manifest("tar+zstd"))

    assert "gzip" in (caught.value.hint or "")


def test_a_layer_without_a_media_type_is_refused():
    manifest = oci_manifest()
    del manifest["layers"][0]["mediaType"]

    with pytest.raises(ResourceFailedError, match="without a media type"):
        to_docker_manifest(manifest)


def test_attestations_in_index_are_ignored():
    index = oci_index(
        ("unknown", "unknown", "sha256:attestation"),
        ("linux", "arm64", "sha256:arm"),
        ("linux", "amd64", "sha256:amd"),
    )

    assert is_index(index)
    assert find_platform_digest(index) == "sha256:amd"


def test_an_index_without_our_platform_is_refused():
    with pytest.raises(NotFoundError, match="no linux/amd64"):
        find_platform_digest(oci_index(("linux", "arm64", "sha256:arm")))
