"""What every table of chandra.toml is held to, and the error where it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping

from deploy.errors import ConfigError

__all__ = ["EXAMPLE", "check_environment", "is_secret", "require"]

EXAMPLE = (
    "chandra-sagemaker init --config example.toml writes every setting with its default"
)
FORBIDDEN = {
    "SAGEMAKER_INFERENCE_COMPONENT_NAME": "it belongs to inference components; "
    "a standard endpoint needs none",
}
# A token opens doors; tokens are what pages are made of.
SECRET = re.compile(r"TOKEN(?!S)|SECRET|PASSWORD|CREDENTIAL|API_?KEY|ACCESS_KEY", re.I)
# As the hub and AWS begin theirs, whatever the variable is called.
SECRET_VALUE = re.compile(r"\bhf_[A-Za-z0-9]{20,}|\bA[KS]IA[A-Z0-9]{16}\b")


def require(condition: bool, sentence: str) -> None:
    """Raises ConfigError with the sentence where the condition does not hold."""
    if not condition:
        raise ConfigError(sentence, hint=EXAMPLE)


def is_secret(name: str, value: str) -> bool:
    """Return True if the name or the value of a variable is that of a credential."""
    return bool(SECRET.search(name) or SECRET_VALUE.search(value))


def check_environment(where: str, environment: Mapping[str, str]) -> None:
    """Raises ConfigError for what SageMaker refuses, and for a credential."""
    for name, value in environment.items():
        if name in FORBIDDEN:
            raise ConfigError(
                f"{where} must not set {name}: {FORBIDDEN[name]}",
                hint=f"take {name} out of [{where}]",
            )
        require(
            not SECRET.search(name),
            f"{where} must not hold {name}: whoever may describe the model can read "
            "it; stage gated weights with `model stage`",
        )
        require(
            not SECRET_VALUE.search(value),
            f"the value of {where}.{name} is a credential: whoever may describe the "
            "model can read it; stage gated weights with `model stage`",
        )
        require(
            len(name) <= 1024 and len(value) <= 1024,
            f"{where}.{name} is longer than SageMaker's 1024",
        )
