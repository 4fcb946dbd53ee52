"""Remote build of the image with CodeBuild, for machines without an engine."""

from __future__ import annotations

import json
import shlex
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from deploy.aws.client import AWSClient
from deploy.config import DeployConfig
from deploy.errors import ConflictError, ResourceFailedError, WaitTimeoutError
from deploy.image.build import ContainerEngine, dockerfile_name
from deploy.monitoring.logs import LogReader
from deploy.plan.actions import Call
from deploy.resources import OWNER_TAG, Identity, tags_of
from deploy.retries import DEFAULT_BACKOFF, Poll

__all__ = [
    "AFTER_BUILD_HINT",
    "Builds",
    "buildspec",
    "get_build_log_group",
    "sources_prefix",
    "write_zip",
]

POLL_SECONDS = 10.0
SOURCES = "builds"
AFTER_BUILD_HINT = (
    "after the build, run chandra-sagemaker image push --remote again: it finds and "
    "records the pushed image"
)


class Builds:
    """CodeBuild project of a deployment."""

    def __init__(
        self, aws: AWSClient, config: DeployConfig, identity: Identity
    ) -> None:
        self._aws = aws
        self._config = config
        self._identity = identity
        self.project = f"{config.name}-image"
        self.role = f"{config.name}-build"

    def plan_project(self, key: str) -> list[Call]:
        """Return the call that creates the CodeBuild project, or none if it exists.

        `key` is the key of the sources in `model.bucket`.

        Raises ConflictError if the project belongs to another deployment.
        """
        answer = self._aws.call("codebuild", "batch_get_projects", names=[self.project])
        for project in answer["projects"]:
            tags = {tag["key"]: tag["value"] for tag in project.get("tags", ())}
            if tags.get(OWNER_TAG) != self._config.name:
                raise ConflictError(
                    f"there is a CodeBuild project {self.project} already, and it is "
                    "not this deployment's",
                    hint="set another name in chandra.toml",
                )
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
                        # Docker runs only in privileged mode.
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
        """Start a build that pushes the image to `uri`; return the id of the build.

        `key` is the key of the sources in `model.bucket`.
        """
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
        """Wait until a build has succeeded, and print its log lines with `say`.

        Raises ResourceFailedError if the build fails, and WaitTimeoutError after
        `timeout_seconds`; the build then continues.
        """
        poll = Poll(
            POLL_SECONDS,
            timeout_seconds,
            DEFAULT_BACKOFF,
            clock=clock,
            sleep=sleep,
            say=say,
        )
        reader = LogReader(
            self._aws,
            get_build_log_group(self._config.name),
            since=datetime.fromtimestamp(clock(), UTC),
        )
        for attempt in poll:
            with attempt:
                answer = self._aws.call("codebuild", "batch_get_builds", ids=[build])
                state: dict[str, Any] = answer["builds"][0]
                for event in reader.read():
                    say(f"  | {event.message}")
                if state["buildStatus"] == "SUCCEEDED":
                    return
                if state["buildStatus"] != "IN_PROGRESS":
                    raise ResourceFailedError(
                        f"build {build} is {state['buildStatus']} in phase "
                        f"{state.get('currentPhase', 'unknown')}; its lines are above",
                        hint="fix what they report, then chandra-sagemaker image push "
                        "--remote again",
                    )
        raise WaitTimeoutError(
            f"build {build} is not finished and continues", hint=AFTER_BUILD_HINT
        )


def sources_prefix(deployment: str) -> str:
    """Return the prefix in `model.bucket` of the sources of builds."""
    return f"{SOURCES}/{deployment}/"


def get_build_log_group(deployment: str) -> str:
    """Return the name of the log group of a deployment's builds."""
    return f"/aws/codebuild/{deployment}-image"


def buildspec(config: DeployConfig, uri: str, revision: str, registry: str) -> str:
    """Return the buildspec of a build, as YAML.

    It runs the commands of a local build and push with docker.
    """
    region = registry.split(".")[3]
    # On CodeBuild, the context is the folder of the unpacked zip.
    table = replace(config.image, context=".", dockerfile=dockerfile_name(config.image))
    commands = [
        f"aws ecr get-login-password --region {region} | docker login --username AWS "
        f"--password-stdin {registry}",
        "docker buildx create --use --driver docker-container",
        *(
            shlex.join(c)
            for c in ContainerEngine("docker").push_commands(table, uri, revision)
        ),
    ]
    lines = "".join(f"      - {json.dumps(command)}\n" for command in commands)
    return f"version: 0.2\nphases:\n  build:\n    commands:\n{lines}"


def write_zip(files: Mapping[str, Path], target: IO[bytes]) -> None:
    """Write files under their names to a zip for CodeBuild."""
    # Zip cannot store times before 1980, which some checkouts have.
    with zipfile.ZipFile(
        target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False
    ) as packed:
        for name, path in files.items():
            packed.write(path, name)
