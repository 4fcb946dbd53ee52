"""Engine and image that the container tests share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.archive import ROOT
from tests.container.containers import DockerContainer
from tests.container.engine import DockerEngine

IMAGE = "localhost/chandra:test"


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    # The folder holds sockets, so its path must be short. A folder that is named by the
    # user is kept.
    named = os.environ.get("CONTAINER_TEST_DIR")
    with tempfile.TemporaryDirectory(prefix="ct-") as scratch:
        folder = Path(named or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        engine = DockerEngine(folder)
        try:
            yield engine
        finally:
            engine.close()


@pytest.fixture(scope="session")
def image(engine) -> str:
    variant = os.environ.get("CONTAINER_TEST_VARIANT", "cpu")
    engine.build(ROOT, IMAGE, f"VARIANT={variant}")
    return IMAGE


@pytest.fixture(scope="module")
def start_container(engine, image):
    """Function that starts containers, which are removed at the end."""
    containers: list[DockerContainer] = []

    def start(*options: str, image: str = image) -> DockerContainer:
        containers.append(DockerContainer(engine, image, *options))
        return containers[-1]

    yield start
    for container in containers:
        container.remove()


@pytest.fixture(scope="module")
def build_changed_image(engine, image, tmp_path_factory):
    """Function that builds an image with one more line in its Dockerfile."""

    def build(name: str, line: str) -> str:
        context = tmp_path_factory.mktemp("changed")
        (context / "Dockerfile").write_text(f"FROM {image}\n{line}\n")
        tag = f"localhost/chandra:{name}"
        engine("build", "-t", tag, context)
        return tag

    return build
