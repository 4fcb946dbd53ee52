"""Repository of ECR, and a function that pushes images into it."""

from __future__ import annotations

import pytest

from deploy.image.manifest import DOCKER, to_docker_manifest
from tests.deploy.images import REPOSITORY, oci_manifest, put_image


@pytest.fixture
def repository(wire, cloud):
    """Create a repository with immutable tags."""
    wire.call("ecr", "create_repository", repositoryName=REPOSITORY,
              imageTagMutability="IMMUTABLE")  # fmt: skip
    cloud.calls.clear()


@pytest.fixture
def push_image(wire):
    """Return a function that pushes an image and returns its digest."""

    def push(tag, config, media_type=DOCKER):
        manifest = oci_manifest(config=config)
        if media_type == DOCKER:
            manifest = to_docker_manifest(manifest)
        return put_image(wire, manifest, tag, media_type, config=config)

    return push


@pytest.fixture
def unset_image(tmp_path):
    """Remove the image from chandra.toml, so that the lock file names it."""
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("uri =", "# uri ="))
