"""Model line and name of weights, from their config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.errors import ConfigError, NotFoundError

__all__ = ["Checkpoint", "check_name", "recognise_checkpoint"]


@dataclass(frozen=True, slots=True)
class Line:
    """One model line that the container serves."""

    name: str
    profile: str
    """The container's profile for it."""
    model_type: str
    num_layers: int
    """Layers of its text model."""


# Layers of their base models: Qwen3-VL-8B and Qwen3.5-4B.
LINES = (
    Line("Chandra 1", "chandra", "qwen3_vl", 36),
    Line("Chandra 2", "chandra-2", "qwen3_5", 32),
)
MINI = "mini"
NAMES = {
    "datalab-to/chandra": "Chandra 1",
    "datalab-to/chandra-ocr-2": "Chandra 2",
    "mini": MINI,
    "mini-2": MINI,
}
"""The line that a name promises; in lower case, as the hub compares names."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The description of weights in their config.json."""

    model_type: str
    profile: str
    """The container's profile that reads them."""
    line: str | None
    """The model line with this architecture; None where their size is another one."""
    name: str | None
    """The hub's name that config.json gives, if it gives one."""

    @property
    def sentence(self) -> str:
        """Describe the weights for people."""
        named = f", named {self.name}" if self.name else ""
        if self.line == MINI:
            return f"the demonstration model {self.profile} ({self.model_type}){named}"
        if self.line is None:
            return (
                f"a {self.model_type} model of another size than Chandra, read with "
                f"the profile {self.profile}{named}"
            )
        return f"the architecture of {self.line} ({self.model_type}){named}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def recognise_checkpoint(folder: Path) -> Checkpoint:
    """Return what the config.json of a folder says.

    Raises NotFoundError without one, and ConfigError for weights that the container
    has no profile for.
    """
    config = _config(folder / "config.json")
    model_type = config.get("model_type")
    line = next((line for line in LINES if line.model_type == model_type), None)
    if line is None:
        known = " or ".join(f"{line.model_type} ({line.name})" for line in LINES)
        raise ConfigError(
            f"{folder} holds no Chandra: its model_type is {model_type!r}, and the "
            f"container serves {known}",
            hint="chandra-sagemaker model stage --from FOLDER, with Chandra's weights",
        )
    profile = config.get("chandra_profile")
    is_mini = isinstance(profile, str) and profile.startswith(MINI)
    text = config.get("text_config")
    layers = (text if isinstance(text, dict) else config).get("num_hidden_layers")
    name = config.get("_name_or_path") or config.get("name_or_path")
    return Checkpoint(
        model_type=line.model_type,
        profile=profile if isinstance(profile, str) else line.profile,
        line=MINI if is_mini else line.name if _fits(line, layers) else None,
        name=name if isinstance(name, str) and HUB_NAME.fullmatch(name) else None,
    )


def check_name(folder: Path, found: Checkpoint, name: str, *, is_given: bool) -> None:
    """Raise ConfigError where weights are to be staged under the name of others.

    `is_given` says that the name was typed for these weights: it then overrules the
    name in config.json, which fine-tuning keeps, but never the architecture.
    """
    command = f"chandra-sagemaker model stage --from {folder} --model"
    promised = NAMES.get(name.lower())
    if promised is not None and promised != found.line:
        fitting = [other for other, line in NAMES.items() if line == found.line]
        raise ConfigError(
            f"{folder} holds {found.sentence}, and {name} is {promised}",
            hint=f"{command} {found.name or (fitting or ['NAME'])[0]}",
        )
    if not is_given and found.name not in (None, name):
        raise ConfigError(
            f"{folder} holds weights that config.json names {found.name}, and model.id "
            f"is {name}",
            hint=f"{command} {found.name}; or --model {name}, if they are those",
        )


def _fits(line: Line, layers: object) -> bool:
    """Return True if the number of layers fits a line or is unknown."""
    return layers is None or layers == line.num_layers


def _config(path: Path) -> Mapping[str, Any]:
    again = "chandra-sagemaker model stage --from FOLDER"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{path.parent} has no config.json: it is not a folder of weights",
            hint=again,
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read: {type(error).__name__}", hint=again
        ) from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} is not a JSON object", hint=again)
    return config
