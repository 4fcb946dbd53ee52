"""Rules for all tables of chandra.toml."""

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
# An access TOKEN is a secret, but a number of TOKENS is not.
SECRET = re.compile(r"TOKEN(?!S)|SECRET|PASSWORD|CREDENTIAL|API_?KEY|ACCESS_KEY", re.I)
# Credentials of Hugging Face and AWS, in a variable of any name.
SECRET_VALUE = re.compile(r"\bhf_[A-Za-z0-9]{20,}|\bA[KS]IA[A-Z0-9]{16}\b")


def require(condition: bool, sentence: str) -> None:
    """Raise ConfigError with the sentence if the condition is False."""
    if not condition:
        raise ConfigError(sentence, hint=EXAMPLE)


def is_secret(name: str, value: str) -> bool:
    """Return True if a variable looks like a credential, by its name or its value."""
    return bool(SECRET.search(name) or SECRET_VALUE.search(value))


def check_environment(where: str, environment: Mapping[str, str]) -> None:
    """Raise ConfigError for variables that SageMaker rejects, and for credentials.

    `where` names the table in the message. The message does not contain the value.
    """
    for name, value in environment.items():
        if name in FORBIDDEN:
            raise ConfigError(
                f"{where} must not set {name}: {FORBIDDEN[name]}",
                hint=f"take {name} out of [{where}]",
            )
        require(
            not SECRET.search(name),
            f"{where} must not hold {name}: everyone who may describe the model can "
            "read it; stage gated weights with `model stage`",
        )
        require(
            not SECRET_VALUE.search(value),
            f"the value of {where}.{name} is a credential: everyone who may describe "
            "the model can read it; stage gated weights with `model stage`",
        )
        require(
            len(name) <= 1024 and len(value) <= 1024,
            f"{where}.{name} is longer than SageMaker's 1024",
        )
