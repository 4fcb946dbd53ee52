"""Configuration in chandra.toml as one value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.config.rules import require
from deploy.config.tables import (
    AsynchronousTable,
    CaptureTable,
    EndpointTable,
    ImageTable,
    ModelSource,
    ModelTable,
    NetworkTable,
    TransformTable,
    UpdateTable,
)

__all__ = ["MAX_NAME", "DeployConfig"]

NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
# A name, a dash and eight digits of a digest must fit into SageMaker's 63 characters.
MAX_NAME = 54


@dataclass(frozen=True, slots=True)
class DeployConfig:
    """Configuration of a deployment: its endpoints, and the resources that they use."""

    name: str = "chandra"
    region: str | None = None
    """AWS region; None: that of the AWS profile."""
    role: str | None = None
    """ARN of the execution role; None: the role that `iam --create` creates."""
    image: ImageTable = field(default_factory=ImageTable)
    model: ModelTable = field(default_factory=ModelTable)
    endpoint: EndpointTable = field(default_factory=EndpointTable)
    network: NetworkTable = field(default_factory=NetworkTable)
    update: UpdateTable = field(default_factory=UpdateTable)
    capture: CaptureTable = field(default_factory=CaptureTable)
    transform: TransformTable = field(default_factory=TransformTable)
    asynchronous: AsynchronousTable = field(default_factory=AsynchronousTable)
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            NAME.fullmatch(self.name) is not None and len(self.name) <= MAX_NAME,
            f"name must be letters, digits and single dashes, at most {MAX_NAME} of "
            f"them, not {self.name}",
        )
        require(
            self.role is None or self.role.startswith("arn:"),
            f"role must be an ARN, not {self.role}",
        )
        require(
            not (self.network.isolation and self.model.source is ModelSource.HUB),
            "network.isolation = true keeps the container from the hub: set it to "
            'false, or stage the weights and set model.source = "s3"',
        )

    @property
    def role_name(self) -> str:
        """Name of the execution role that `iam --create` creates."""
        return f"{self.name}-execution"
