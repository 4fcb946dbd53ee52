"""Flags that several commands share, and the settings that they override."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from deploy.config import DeployConfig
from deploy.errors import ConfigError

__all__ = [
    "add_machine_arguments",
    "add_wait_arguments",
    "blame_flags",
    "override_config",
    "parse_pairs",
    "parse_seconds",
]


def add_machine_arguments(
    parser: argparse.ArgumentParser,
    overrides: str = "chandra.toml",
    *,
    count_help: str | None = None,
) -> None:
    """Add the flags of the machines and the image of an endpoint.

    `count_help` replaces the help of --instance-count.
    """
    parser.add_argument(
        "--instance-type",
        action="append",
        metavar="TYPE",
        help=f"instance type (overrides {overrides}); repeat it for a second choice",
    )
    parser.add_argument(
        "--instance-count",
        type=int,
        metavar="N",
        help=count_help or f"number of machines (overrides {overrides})",
    )
    parser.add_argument(
        "--image",
        metavar="URI",
        help=f"image URI with a digest (overrides {overrides})",
    )


def add_wait_arguments(
    parser: argparse.ArgumentParser, until: str = "the endpoint is in service"
) -> None:
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"wait until {until} (default)",
    )
    parser.add_argument(
        "--timeout",
        type=parse_seconds,
        default=3600,
        metavar="SECONDS",
        help="stop waiting after SECONDS; the operation continues (default 3600)",
    )


def parse_seconds(text: str) -> float:
    """Return a positive number of seconds; raises ArgumentTypeError for other text."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    # float() also accepts nan and inf.
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(
            f"seconds must be a number above 0, not {text}"
        )
    return value


@contextmanager
def blame_flags(options: argparse.Namespace) -> Iterator[None]:
    """Raise a ConfigError of the block again with `COMMAND --help` as its hint."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(
            error.message, hint=f"chandra-sagemaker {options.command} --help"
        ) from error


def override_config(config: DeployConfig, options: argparse.Namespace) -> DeployConfig:
    """Return the configuration with the values of the flags that were given.

    Raises ConfigError for a value that the configuration does not accept.
    """
    with blame_flags(options):
        return _override(config, options)


def _override(config: DeployConfig, options: argparse.Namespace) -> DeployConfig:
    changes: dict[str, object] = {}
    if options.instance_type:
        changes["instance_types"] = tuple(options.instance_type)
    if options.instance_count is not None:
        changes["instance_count"] = options.instance_count
    for flag in ("startup_timeout", "download_timeout"):
        if getattr(options, flag, None) is not None:
            changes[f"{flag}_seconds"] = getattr(options, flag)
    if getattr(options, "env", None):
        changes["environment"] = {
            **config.endpoint.environment,
            **parse_pairs(options.env),
        }
    endpoint = replace(config.endpoint, **changes)  # type: ignore[arg-type]
    config = replace(config, endpoint=endpoint)
    if options.image is not None:
        config = replace(config, image=config.image.with_uri(options.image))
    return config


def parse_pairs(items: Sequence[str]) -> dict[str, str]:
    """Return the variables of --env; raises ConfigError for one without a value."""
    variables = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            # The message does not repeat the value, which may be a secret.
            raise ConfigError(
                "--env takes NAME=VALUE", hint="chandra-sagemaker update --env A=1"
            )
        variables[name] = value
    return variables
