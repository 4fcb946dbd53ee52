"""Tags and digests in `image check` and in repairs."""

from __future__ import annotations

import pytest

from deploy.image.manifest import DOCKER, to_docker_manifest
from tests.deploy.images import (
    OCI,
    REPOSITORY,
    docker_digest,
    encoded,
    image_config,
    oci_manifest,
    write_archive,
)


@pytest.fixture(autouse=True)
def _repository(repository):
    """Create the repository before any other fixture uses the registry."""


def test_check_names_pushed_tag(chandra, tmp_path, unset_image):
    archive = str(write_archive(tmp_path / "image.tar"))
    for tag in ("one", "two"):
        assert chandra("image", "push", "--archive", archive, "--tag", tag).status == 0

    result = chandra("image", "check")

    assert f"{REPOSITORY}:two is" in result.out
    assert chandra("image", "check", "--json").json["tag"] == "two"


def test_untagged_image_is_named_by_digest(chandra, wire, project):
    manifest = encoded(to_docker_manifest(oci_manifest())).decode()
    answer = wire.call(
        "ecr",
        "put_image",
        repositoryName=REPOSITORY,
        imageManifest=manifest,
        imageManifestMediaType=DOCKER,
    )
    image_digest = answer["image"]["imageId"]["imageDigest"]
    project(
        image=f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@{image_digest}"
    )

    result = chandra("image", "check")

    assert result.out.startswith(f"{REPOSITORY}@{image_digest} is {DOCKER}")
    assert chandra("image", "check", "--json").json["tag"] is None


def test_check_reports_that_deployments_use_another_image(chandra, push_image):
    push_image("v1", image_config())

    result = chandra("image", "check", "--tag", "v1")

    assert "note: deployments use sha256:aaaa" in result.out


def test_dry_run_of_repair_shows_image(chandra, push_image):
    push_image("v1", image_config(), OCI)

    result = chandra("image", "check", "--tag", "v1", "--fix", "--dry-run", "--json")

    assert result.json["fixed"] == {
        "tag": "v1-v2s2",
        "digest": docker_digest(image_config()),
    }
