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
class ModelLine:
    """Model line that the container serves."""

    name: str
    profile: str
    """Profile of the container for it."""
    model_type: str
    num_layers: int
    """Number of layers of the text model."""


# Layers of their base models: Qwen3-VL-8B and Qwen3.5-4B.
LINES = (
    ModelLine("Chandra 1", "chandra", "qwen3_vl", 36),
    ModelLine("Chandra 2", "chandra-2", "qwen3_5", 32),
)
MINI = "mini"
NAMES = {
    "datalab-to/chandra": "Chandra 1",
    "datalab-to/chandra-ocr-2": "Chandra 2",
    "mini": MINI,
    "mini-2": MINI,
}
"""Model line of known names, in lower case, because the hub ignores case."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Description of weights in their config.json."""

    model_type: str
    profile: str
    """Profile of the container that reads them."""
    line: str | None
    """Line with this architecture; None if their size differs."""
    name: str | None
    """Name on the hub in config.json, if there is one."""

    @property
    def sentence(self) -> str:
        """Description of the weights for people, as part of a sentence."""
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
    """Recognise the weights in a folder by its config.json.

    Raises NotFoundError if the file is missing, and ConfigError if it cannot be read,
    or describes weights that no profile of the container reads.
    """
    config = _read_config(folder / "config.json")
    model_type = config.get("model_type")
    line = next((line for line in LINES if line.model_type == model_type), None)
    if line is None:
        known_types = " or ".join(f"{line.model_type} ({line.name})" for line in LINES)
        raise ConfigError(
            f"{folder} is not a Chandra model: its model_type is {model_type!r}, and "
            f"the container serves {known_types}",
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
        line=MINI if is_mini else line.name if _has_layers_of(line, layers) else None,
        name=name if isinstance(name, str) and HUB_NAME.fullmatch(name) else None,
    )


def check_name(
    folder: Path, checkpoint: Checkpoint, name: str, *, is_given: bool
) -> None:
    """Raise ConfigError if weights would be staged under the name of other weights.

    `is_given` says that the name was given for these weights. It then takes precedence
    over the name in config.json, which fine-tuning keeps. A known name never fits
    weights of another architecture.
    """
    command = f"chandra-sagemaker model stage --from {folder} --model"
    expected_line = NAMES.get(name.lower())
    if expected_line is not None and expected_line != checkpoint.line:
        fitting_names = [
            other for other, line in NAMES.items() if line == checkpoint.line
        ]
        raise ConfigError(
            f"{folder} contains {checkpoint.sentence}, but {name} is {expected_line}",
            hint=f"{command} {checkpoint.name or (fitting_names or ['NAME'])[0]}",
        )
    if not is_given and checkpoint.name not in (None, name):
        raise ConfigError(
            f"{folder} holds weights that config.json names {checkpoint.name}, and "
            f"model.id is {name}",
            hint=f"{command} {checkpoint.name}; or --model {name}, if they are those",
        )


def _has_layers_of(line: ModelLine, layers: object) -> bool:
    """Return whether the number of layers is that of a line, or unknown."""
    return layers is None or layers == line.num_layers


def _read_config(path: Path) -> Mapping[str, Any]:
    """Read a config.json; raises NotFoundError if missing, ConfigError if invalid."""
    hint = "chandra-sagemaker model stage --from FOLDER"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{path.parent} has no config.json: it is not a folder of weights",
            hint=hint,
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read: {type(error).__name__}", hint=hint
        ) from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} is not a JSON object", hint=hint)
    return config
