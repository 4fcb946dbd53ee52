"""Images built and pushed by whatever engine there is. The subprocess of shipping."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.config import ImageTable
from deploy.errors import ConfigError, ResourceFailedError

__all__ = ["Engine", "Runner", "Subprocess", "engine_of", "tag_of"]

PLATFORM = "linux/amd64"
STANDARD_ERROR = 2


class Runner(Protocol):
    """What runs other programs."""

    def find(self, program: str) -> bool: ...
    def capture(self, command: Sequence[str]) -> str | None:
        """Its output; None where it fails."""
        ...

    def run(self, command: Sequence[str], *, secret: str | None = None) -> None:
        """Its output goes to the terminal; `secret` to its standard input."""
        ...


class Subprocess:
    """The real one."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def find(self, program: str) -> bool:
        return shutil.which(program) is not None

    def capture(self, command: Sequence[str]) -> str | None:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    def run(self, command: Sequence[str], *, secret: str | None = None) -> None:
        self._say("$ " + " ".join(command))
        try:
            # Beside our own output, which may be an object for a program.
            status = subprocess.run(
                command, input=secret, text=True, check=False, stdout=STANDARD_ERROR
            ).returncode
        except OSError as error:
            raise ConfigError(f"{command[0]} cannot be run: {error}") from error
        if status != 0:
            raise ResourceFailedError(
                f"{' '.join(command[:3])} ended with {status}; its own lines are above"
            )


@dataclass(frozen=True, slots=True)
class Engine:
    """docker, podman or buildah."""

    name: str

    def build(self, table: ImageTable, uri: str, revision: str) -> list[list[str]]:
        """Into the engine's own store."""
        if self.name == "docker":
            return [["docker", "buildx", "build", *self._what(table, revision),
                     "--provenance=false", "--sbom=false", "--load", "--tag", uri,
                     table.context]]  # fmt: skip
        verb = "bud" if self.name == "buildah" else "build"
        return [[self.name, verb, "--format", "docker", *self._what(table, revision),
                 "--tag", uri, table.context]]  # fmt: skip

    def push(self, table: ImageTable, uri: str, revision: str) -> list[list[str]]:
        """Built, from the cache where it can be, and pushed as SageMaker takes it."""
        if self.name == "docker":
            # A plain `docker push` sends an OCI manifest since version 29.
            output = f"type=image,name={uri},push=true,oci-mediatypes=false"
            return [["docker", "buildx", "build", *self._what(table, revision),
                     "--provenance=false", "--sbom=false", "--output", output,
                     table.context]]  # fmt: skip
        return [
            *self.build(table, uri, revision),
            [self.name, "push", "--format", "v2s2", uri, f"docker://{uri}"],
        ]

    def login(self, registry: str) -> list[str]:
        return [self.name, "login", "--username", "AWS", "--password-stdin", registry]

    @staticmethod
    def _what(table: ImageTable, revision: str) -> list[str]:
        return [
            "--platform",
            PLATFORM,
            "--file",
            table.dockerfile,
            "--build-arg",
            f"REVISION={revision}",
            "--build-arg",
            f"CUDA_VERSION={table.cuda}",
        ]


def engine_of(runner: Runner) -> Engine:
    """The first that works here; raises ConfigError where none does."""
    if runner.capture(["docker", "buildx", "version"]) is not None and (
        runner.capture(["docker", "info"]) is not None
    ):
        return Engine("docker")
    for name in ("podman", "buildah"):
        if runner.find(name):
            return Engine(name)
    raise ConfigError(
        "neither docker with buildx nor podman nor buildah works here",
        hint="chandra-sagemaker image push --remote builds on AWS",
    )


def tag_of(runner: Runner, folder: Path) -> str:
    """The commit; with a digest of what is not committed, where something is not."""
    git = ["git", "-C", str(folder)]
    commit = runner.capture([*git, "rev-parse", "--short=12", "HEAD"])
    if commit is None:
        raise ConfigError(
            "the image is tagged by its git commit, and there is none",
            hint="add --tag NAME",
        )
    changes = runner.capture([*git, "diff", "HEAD"])
    if not changes:
        return commit.strip()
    digest = hashlib.sha256(changes.encode()).hexdigest()[:8]
    return f"{commit.strip()}-{digest}"
