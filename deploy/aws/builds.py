"""An image built on AWS by CodeBuild, for machines without an engine."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.actions import Call
from deploy.aws.client import AWSClient
from deploy.aws.logs import LogReader
from deploy.config import DeployConfig
from deploy.errors import ResourceFailedError, WaitTimeoutError
from deploy.image import Engine
from deploy.resources import Identity, tags_of

__all__ = ["Builds", "build_log", "buildspec", "source_zip", "sources_prefix"]

POLL_SECONDS = 10.0
SOURCES = "builds"
LEFT_OUT = {".git", ".venv", "build", "__pycache__", ".mypy_cache", ".pytest_cache"}


class Builds:
    """One CodeBuild project, named after the deployment."""

    def __init__(
        self, aws: AWSClient, config: DeployConfig, identity: Identity
    ) -> None:
        self._aws = aws
        self._config = config
        self._identity = identity
        self.project = f"{config.name}-image"
        self.role = f"{config.name}-build"

    def missing(self, key: str) -> list[Call]:
        """The call that makes the project, unless it is there."""
        found = self._aws.call("codebuild", "batch_get_projects", names=[self.project])
        if found["projects"]:
            return []
        return [
            Call(
                "codebuild",
                "create_project",
                {
                    "name": self.project,
                    "source": {"type": "S3", "location": self._location(key)},
                    "artifacts": {"type": "NO_ARTIFACTS"},
                    "environment": {
                        "type": "LINUX_CONTAINER",
                        "image": "aws/codebuild/standard:7.0",
                        "computeType": "BUILD_GENERAL1_LARGE",
                        # Without it there is no docker inside.
                        "privilegedMode": True,
                    },
                    "serviceRole": self._identity.role_arn(self.role),
                    "tags": [
                        {"key": key, "value": value}
                        for key, value in tags_of(self._config).items()
                    ],
                },
                f"create CodeBuild project {self.project}",
                may_exist=True,
            )
        ]

    def start(self, uri: str, revision: str, key: str) -> str:
        """The build's id."""
        answer = self._aws.call(
            "codebuild",
            "start_build",
            projectName=self.project,
            sourceTypeOverride="S3",
            sourceLocationOverride=self._location(key),
            buildspecOverride=buildspec(
                self._config, uri, revision, self._identity.registry
            ),
        )
        return str(answer["build"]["id"])

    def _location(self, key: str) -> str:
        return f"{self._config.model.bucket}/{key}"

    def wait(
        self,
        build: str,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        timeout_seconds: float,
    ) -> None:
        """Shows the build's own lines; raises ResourceFailedError where it fails."""
        started = clock()
        reader = LogReader(
            self._aws,
            build_log(self._config.name),
            since=datetime.fromtimestamp(started, UTC),
        )
        while True:
            answer = self._aws.call("codebuild", "batch_get_builds", ids=[build])
            state: dict[str, Any] = answer["builds"][0]
            for event in reader.read():
                say(f"  | {event.message}")
            if state["buildStatus"] == "SUCCEEDED":
                return
            if state["buildStatus"] != "IN_PROGRESS":
                raise ResourceFailedError(
                    f"build {build} is {state['buildStatus']} in phase "
                    f"{state.get('currentPhase', 'unknown')}; its lines are above"
                )
            if clock() - started > timeout_seconds:
                raise WaitTimeoutError(f"build {build} takes longer; it goes on")
            sleep(POLL_SECONDS)


def sources_prefix(deployment: str) -> str:
    """Nothing but what a deployment builds from lies below it."""
    return f"{SOURCES}/{deployment}/"


def build_log(deployment: str) -> str:
    return f"/aws/codebuild/{deployment}-image"


def buildspec(config: DeployConfig, uri: str, revision: str, registry: str) -> str:
    """The commands that run here with an engine, run there."""
    region = registry.split(".")[3]
    commands = [
        f"aws ecr get-login-password --region {region} | docker login --username AWS "
        f"--password-stdin {registry}",
        "docker buildx create --use --driver docker-container",
        *(" ".join(c) for c in Engine("docker").push(config.image, uri, revision)),
    ]
    lines = "".join(f"      - {command}\n" for command in commands)
    return f"version: 0.2\nphases:\n  build:\n    commands:\n{lines}"


def source_zip(folder: Path) -> bytes:
    """The build context, without what no build needs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and not LEFT_OUT.intersection(name.parts):
                target.write(path, str(name))
    return buffer.getvalue()
