"""Platform and CUDA version of an image, from its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CUDA_LABEL", "WANTED_PLATFORM", "Configuration", "parse_configuration"]

WANTED_PLATFORM = "linux/amd64"
"""Platform of SageMaker's GPU machines."""
CUDA_LABEL = "chandra.cuda-version"
"""Set by our Dockerfile: the CUDA version of torch in the image."""
# Labels of other images, the most reliable first.
OTHER_LABELS = ("com.nvidia.cuda.version", "cuda-version", "cuda_version", "cuda")
VERSION = re.compile(r"\s*(\d{1,3})\.(\d{1,3})(?![\d])")
# "cuda>=12.4 brand=tesla,driver>=470": https://github.com/NVIDIA/nvidia-container-toolkit
REQUIREMENT = re.compile(r"(?:^|[\s,])cuda>=(\d{1,3}\.\d{1,3})(?!\d)")


@dataclass(frozen=True, slots=True)
class Configuration:
    """Part of an image's configuration that a deployment depends on."""

    platform: str
    """Platform such as "linux/arm64"; "unknown/unknown" if the configuration
    has none."""
    cuda: str | None = None
    """CUDA version such as "12.8"; None if the image does not name one."""
    cuda_source: str | None = None
    """Label or variable that names it."""

    @property
    def runs_on_sagemaker(self) -> bool:
        """True if SageMaker's GPU machines can run the image."""
        return self.platform == WANTED_PLATFORM


def parse_configuration(content: Mapping[str, Any]) -> Configuration:
    """Return the platform and CUDA version in an image configuration.

    Our own label comes first, then CUDA_VERSION, then other labels.
    NVIDIA_REQUIRE_CUDA, which the container runtime compares with the driver, counts if
    it asks for a later version.
    """
    parts = [
        _text_or_unknown(content.get("os")),
        _text_or_unknown(content.get("architecture")),
    ]
    claims = list(_list_versions(content))
    required = _parse_requirement(content)
    cuda, source = claims[0] if claims else (None, None)
    if required is not None and (
        cuda is None or _parse_version(required) > _parse_version(cuda)
    ):
        cuda, source = required, "NVIDIA_REQUIRE_CUDA"
    return Configuration("/".join(parts), cuda, source)


def _list_versions(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield CUDA versions with the label or variable that names them, best first."""
    labels, variables = _get_labels(content), _get_variables(content)
    candidates = [
        (labels.get(CUDA_LABEL), f"label {CUDA_LABEL}"),
        (variables.get("CUDA_VERSION"), "CUDA_VERSION"),
        *((labels.get(name), f"label {name}") for name in OTHER_LABELS),
    ]
    for value, source in candidates:
        match = VERSION.match(value) if isinstance(value, str) else None
        if match is not None:
            yield f"{int(match[1])}.{int(match[2])}", source


def _parse_requirement(content: Mapping[str, Any]) -> str | None:
    """Return the lowest CUDA version that NVIDIA_REQUIRE_CUDA accepts, or None."""
    versions = REQUIREMENT.findall(
        _get_variables(content).get("NVIDIA_REQUIRE_CUDA", "")
    )
    return min(versions, key=_parse_version) if versions else None


def _get_labels(content: Mapping[str, Any]) -> Mapping[str, Any]:
    labels = _get_settings(content).get("Labels")
    return labels if isinstance(labels, dict) else {}


def _get_variables(content: Mapping[str, Any]) -> dict[str, str]:
    lines = _get_settings(content).get("Env")
    pairs = (
        line.partition("=")
        for line in (lines if isinstance(lines, list) else ())
        if isinstance(line, str)
    )
    return {name: value for name, _, value in pairs}


def _get_settings(content: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = content.get("config")
    return settings if isinstance(settings, dict) else {}


def _parse_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _text_or_unknown(value: object) -> str:
    return value if isinstance(value, str) and value else "unknown"
