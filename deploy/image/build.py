"""Build and push of the image with docker, podman or buildah."""

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
from deploy.image.sources import is_outside, select_context_files

__all__ = [
    "ContainerEngine",
    "Runner",
    "Subprocess",
    "compute_tag",
    "dockerfile_name",
    "find_engine",
    "select_build_files",
]

PLATFORM = "linux/amd64"
STANDARD_ERROR = 2
# Left out of remote builds if git cannot list the files.
IGNORED_NAMES = {
    ".git",
    ".venv",
    "build",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
}


class Runner(Protocol):
    """Runner of other programs."""

    def find(self, program: str) -> bool:
        """Return whether a program is installed."""
        ...

    def capture(self, command: Sequence[str]) -> str | None:
        """Return the output of a command; None if it fails or cannot be run.

        The command may take at most a minute.
        """
        ...

    def run(self, command: Sequence[str], *, secret: str | None = None) -> None:
        """Run a command with output to the terminal and `secret` as standard input.

        Raises ConfigError if it cannot be run, and ResourceFailedError if it fails.
        """
        ...


class Subprocess:
    """Runner that starts real processes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def find(self, program: str) -> bool:
        return shutil.which(program) is not None

    def capture(self, command: Sequence[str]) -> str | None:
        try:
            process = subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                # File names are bytes and need not be UTF-8.
                errors="surrogateescape",
                check=False,
                timeout=60,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return process.stdout if process.returncode == 0 else None

    def run(self, command: Sequence[str], *, secret: str | None = None) -> None:
        self._say("$ " + " ".join(command))
        try:
            # Standard output is kept free for our own, which may be JSON.
            status = subprocess.run(
                command, input=secret, text=True, check=False, stdout=STANDARD_ERROR
            ).returncode
        except OSError as error:
            raise ConfigError(
                f"{command[0]} cannot be run: {error}",
                hint=f"repair {command[0]}, or chandra-sagemaker image push --remote",
            ) from error
        if status != 0:
            raise ResourceFailedError(
                f"{' '.join(command[:3])} ended with {status}; its own lines are above",
                hint="fix what they report, then run the same command again",
            )


@dataclass(frozen=True, slots=True)
class ContainerEngine:
    """Container engine: docker, podman or buildah."""

    name: str

    def build_commands(
        self, table: ImageTable, uri: str, revision: str
    ) -> list[list[str]]:
        """Return the commands that build an image into the engine's store."""
        if self.name == "docker":
            return [["docker", "buildx", "build", *self._options(table, revision),
                     "--provenance=false", "--sbom=false", "--load", "--tag", uri,
                     table.context]]  # fmt: skip
        verb = "bud" if self.name == "buildah" else "build"
        return [[self.name, verb, "--format", "docker", *self._options(table, revision),
                 "--tag", uri, table.context]]  # fmt: skip

    def push_commands(
        self, table: ImageTable, uri: str, revision: str
    ) -> list[list[str]]:
        """Return the commands that build and push an image with a Docker manifest."""
        if self.name == "docker":
            # Since version 29, `docker push` sends an OCI manifest, which SageMaker
            # rejects.
            output = f"type=image,name={uri},push=true,oci-mediatypes=false"
            return [["docker", "buildx", "build", *self._options(table, revision),
                     "--provenance=false", "--sbom=false", "--output", output,
                     table.context]]  # fmt: skip
        return [
            *self.build_commands(table, uri, revision),
            [self.name, "push", "--format", "v2s2", uri, f"docker://{uri}"],
        ]

    def login_command(self, registry: str) -> list[str]:
        """Return the command that logs in to a registry; it reads the password."""
        return [self.name, "login", "--username", "AWS", "--password-stdin", registry]

    @staticmethod
    def _options(table: ImageTable, revision: str) -> list[str]:
        # Without this, the Dockerfile's own CUDA version applies.
        cuda = ["--build-arg", f"CUDA_VERSION={table.cuda}"] if table.cuda else []
        return [
            "--platform",
            PLATFORM,
            "--file",
            table.dockerfile,
            "--build-arg",
            f"REVISION={revision}",
            *cuda,
        ]


def find_engine(runner: Runner) -> ContainerEngine:
    """Return the first container engine that works on this machine.

    Raises ConfigError if none does.
    """
    if runner.capture(["docker", "buildx", "version"]) is not None and (
        runner.capture(["docker", "info"]) is not None
    ):
        return ContainerEngine("docker")
    for name in ("podman", "buildah"):
        if runner.find(name):
            return ContainerEngine(name)
    raise ConfigError(
        "neither docker with buildx nor podman nor buildah works here",
        hint="chandra-sagemaker image push --remote builds on AWS",
    )


def compute_tag(runner: Runner, table: ImageTable) -> str:
    """Return the git commit as a tag, followed by a digest of uncommitted changes.

    Only files that the build reads count. Without changes, there is no digest. Raises
    ConfigError outside a git checkout.
    """
    context, dockerfile = Path(table.context), Path(table.dockerfile)
    commit = runner.capture(_git_command(context, "rev-parse", "--short=12", "HEAD"))
    if commit is None:
        raise ConfigError(
            "the image is tagged by its git commit, and there is none",
            hint="run it in a checkout, or give the image a --tag NAME",
        )
    changed_files = [
        context / name
        for name in select_context_files(table, _list_uncommitted(runner, context))
    ]
    if is_outside(dockerfile, context) and (
        dockerfile.name in _list_uncommitted(runner, dockerfile.parent)
    ):
        changed_files.append(dockerfile)
    if not changed_files:
        return commit.strip()
    digest = hashlib.sha256()
    for path in sorted(changed_files):
        digest.update(f"{path}\0".encode(errors="surrogateescape"))
        digest.update(_hash_contents(path))
    return f"{commit.strip()}-{digest.hexdigest()[:8]}"


def select_build_files(runner: Runner, table: ImageTable) -> dict[str, Path]:
    """Return the files that a remote build needs, by name below the context.

    These are the files that neither .dockerignore nor git ignores, and the Dockerfile.
    Raises ConfigError if there is no Dockerfile.
    """
    context, dockerfile = Path(table.context), Path(table.dockerfile)
    if not dockerfile.is_file():
        raise ConfigError(
            f"{dockerfile} does not exist",
            hint="set [image] dockerfile and context in chandra.toml, or run this in "
            "the folder of the Dockerfile",
        )
    output = runner.capture(
        _git_command(
            context, "ls-files", "-z", "--cached", "--others", "--exclude-standard"
        )
    )
    names = (
        [
            path.relative_to(context).as_posix()
            for path in context.rglob("*")
            if not IGNORED_NAMES.intersection(path.relative_to(context).parts)
        ]
        if output is None
        else _split_names(output)
    )
    files = {
        name: context / name for name in sorted(set(select_context_files(table, names)))
    }
    files = {name: path for name, path in files.items() if path.is_file()}
    files[dockerfile_name(table)] = dockerfile
    return files


def dockerfile_name(table: ImageTable) -> str:
    """Return the name that the Dockerfile has in the result of `select_build_files`."""
    context, dockerfile = Path(table.context), Path(table.dockerfile)
    if is_outside(dockerfile, context):
        return f".chandra/{dockerfile.name}"
    return dockerfile.resolve().relative_to(context.resolve()).as_posix()


def _list_uncommitted(runner: Runner, folder: Path) -> set[str]:
    """Return changed, deleted and untracked files below a folder.

    Raises ConfigError if git fails.
    """
    names: set[str] = set()
    for arguments in (
        ("diff", "HEAD", "--name-only", "-z", "--relative"),
        ("ls-files", "-z", "--others", "--exclude-standard"),
    ):
        output = runner.capture(_git_command(folder, *arguments))
        if output is None:
            raise ConfigError(
                f"git {arguments[0]} fails in {folder}, so what is not committed is "
                "not known",
                hint="chandra-sagemaker image push --tag NAME",
            )
        names.update(_split_names(output))
    return names


def _git_command(folder: Path, *arguments: str) -> list[str]:
    return ["git", "-C", str(folder), *arguments]


def _split_names(listed: str) -> list[str]:
    return [name for name in listed.split("\0") if name]


def _hash_contents(path: Path) -> bytes:
    """Return the executable bit and the sha256 of a file; b"gone" if it is deleted."""
    if not path.is_file():
        return b"gone"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return bytes([path.stat().st_mode & 0o100 != 0]) + digest
