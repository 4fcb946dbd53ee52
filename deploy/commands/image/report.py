"""Report of `image`: name, manifest, platform and CUDA version of an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.checks import (
    Finding,
    cuda_findings,
    platform_findings,
    unknown_cuda_finding,
)
from deploy.checks.machines import driver_findings
from deploy.config import DeployConfig
from deploy.image.archive import ArchivedImage
from deploy.image.configuration import WANTED_PLATFORM, Configuration
from deploy.image.manifest import to_docker_manifest
from deploy.image.registry import ImageContents, ImageState, compute_digest
from deploy.machines.catalogue import AMIS

__all__ = [
    "archive_data",
    "archive_lines",
    "is_accepted",
    "is_archive_accepted",
    "registry_data",
    "registry_lines",
]


def is_accepted(
    config: DeployConfig, state: ImageState, contents: ImageContents
) -> bool:
    """Return False if SageMaker cannot read the manifest or run the image."""
    findings = _check_configuration(config, contents.configuration, contents.reason)
    return state.has_docker_manifest and not _has_fatal(findings)


def is_archive_accepted(config: DeployConfig, image: ArchivedImage) -> bool:
    """Return False if SageMaker cannot run the image of a file.

    A push gives it a manifest that SageMaker reads.
    """
    return not _has_fatal(_check_configuration(config, image.configuration, None))


def registry_data(
    config: DeployConfig, state: ImageState, contents: ImageContents
) -> dict[str, object]:
    """Return an image in ECR as fields for --json."""
    findings = _check_configuration(config, contents.configuration, contents.reason)
    return {
        "repository": config.image.repository,
        "tag": None if state.tag == state.digest else state.tag,
        "digest": state.digest,
        "media_type": state.media_type,
        "bytes": state.size,
        "taken_by_sagemaker": is_accepted(config, state, contents),
        "child": contents.child,
        **_configuration_data(config, contents.configuration, findings),
    }


def registry_lines(
    config: DeployConfig,
    state: ImageState,
    contents: ImageContents,
    *,
    tag: str | None = None,
) -> list[str]:
    """Return lines on an image in ECR. `tag` is the value of --tag, if given."""
    name = f"{config.image.repository}{state.name}"
    configuration = contents.configuration
    platform = configuration.platform if configuration else "of an unknown platform"
    lines = [f"{name} is {state.media_type}, {platform}"]
    if state.tag != state.digest:
        lines.append(f"its digest is {state.digest}")
    if contents.child is not None:
        lines.append(f"its {WANTED_PLATFORM} image is {contents.child}")
    if tag is not None:
        lines += _used_lines(config, state)
    if not contents.runs_on_sagemaker:
        lines += [
            f"SageMaker does not accept it: its GPU machines are {WANTED_PLATFORM}",
            f"next: chandra-sagemaker image push builds one for {WANTED_PLATFORM}",
        ]
        return lines
    if not state.has_docker_manifest:
        lines += [
            "SageMaker does not accept it: it needs a Docker v2 schema 2 manifest",
            "next: chandra-sagemaker image check --fix"
            + (f" --tag {tag}" if tag else ""),
        ]
    elif configuration is None:
        lines.append(
            "SageMaker accepts its manifest; whether its machines run it is not known: "
            f"{contents.reason}"
        )
        if contents.hint:
            lines.append(f"  try: {contents.hint}")
    elif is_accepted(config, state, contents):
        lines.append("SageMaker accepts it")
    else:
        lines.append("SageMaker accepts its manifest, but its machines cannot run it")
    return lines + _cuda_lines(config, configuration, contents.reason)


def archive_data(
    config: DeployConfig, path: Path, image: ArchivedImage, tag: str | None
) -> dict[str, object]:
    """Return an image in a file as fields for --json."""
    findings = _check_configuration(config, image.configuration, None)
    return {
        "archive": str(path),
        "archive_tag": image.tag,
        "archive_tags": list(image.tags),
        "archive_digest": image.digest,
        "repository": config.image.repository,
        "tag": tag,
        "digest": compute_digest(to_docker_manifest(image.manifest)),
        "taken_by_sagemaker": is_archive_accepted(config, image),
        **_configuration_data(config, image.configuration, findings),
    }


def archive_lines(
    config: DeployConfig, path: Path, image: ArchivedImage, tag: str | None
) -> list[str]:
    """Return lines on an image in a file, and on its name and digest in ECR."""
    own = f"tagged {' and '.join(image.tags)}" if image.tags else "without a tag"
    name = f"{config.image.repository}:{tag}" if tag else config.image.repository
    return [
        f"{path} holds {image.digest} for {image.configuration.platform}, {own}",
        f"pushed, it is {name}, digest "
        f"{compute_digest(to_docker_manifest(image.manifest))}: "
        "its manifest becomes Docker's, which SageMaker accepts",
        *_cuda_lines(config, image.configuration, None),
    ]


def _used_lines(config: DeployConfig, state: ImageState) -> list[str]:
    """Return a note if deployments use another image than this one."""
    _, _, used = (config.image.uri or "").partition("@")
    if used in ("", state.digest):
        return []
    name = f" ({config.image.tag})" if config.image.tag else ""
    return [f"note: deployments use {used}{name}, not this image"]


def _configuration_data(
    config: DeployConfig,
    configuration: Configuration | None,
    findings: Sequence[Finding],
) -> dict[str, Any]:
    cuda, source = _cuda_version(config, configuration)
    return {
        "platform": configuration.platform if configuration else None,
        "cuda": cuda,
        "cuda_source": source,
        "findings": [finding.to_json() for finding in findings],
    }


def _has_fatal(findings: Sequence[Finding]) -> bool:
    return any(finding.is_fatal for finding in findings)


def _cuda_version(
    config: DeployConfig, configuration: Configuration | None
) -> tuple[str | None, str | None]:
    """Return the CUDA version and its source: the image, otherwise chandra.toml."""
    if configuration is not None and configuration.cuda is not None:
        return configuration.cuda, configuration.cuda_source
    setting = config.image.cuda
    return setting, None if setting is None else "image.cuda in chandra.toml"


def _check_configuration(
    config: DeployConfig, configuration: Configuration | None, reason: str | None
) -> list[Finding]:
    ami = config.endpoint.ami
    cuda, _ = _cuda_version(config, configuration)
    if cuda is None and configuration is None:
        return [unknown_cuda_finding(ami, str(reason))]
    own = configuration.cuda if configuration is not None else None
    platform = [] if configuration is None else platform_findings(configuration)
    if own is not None or cuda is None:
        return [*platform, *cuda_findings(config, own, ami)]
    return [*platform, *driver_findings(cuda, ami)]


def _cuda_lines(
    config: DeployConfig, configuration: Configuration | None, reason: str | None
) -> list[str]:
    findings = _check_configuration(config, configuration, reason)
    cuda, source = _cuda_version(config, configuration)
    lines = []
    for finding in findings:
        lines.append(finding.sentence)
        if finding.hint:
            lines.append(f"  try: {finding.hint}")
    if not findings and config.endpoint.ami in AMIS:
        lines.append(
            f"CUDA {cuda} ({source}) runs on the driver of {config.endpoint.ami}"
        )
    elif not findings:
        lines.append(
            f"CUDA {cuda} ({source}); the driver of {config.endpoint.ami} is not known"
        )
    return lines
