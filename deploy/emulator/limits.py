"""Limits that AWS documents for SageMaker, and assumptions about the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deploy.errors import ConfigError

__all__ = ["Assumptions", "SageMakerLimits", "parse_assumptions"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SageMakerLimits:
    """Documented limits of SageMaker, in seconds and bytes."""

    body_bytes: int = 25 * MIB
    """Largest body of a real-time request."""
    answer_seconds: float = 60
    """Time for a real-time response, from the request to the last byte."""
    stream_seconds: float = 8 * 60
    """Time for a streamed response, from the request to the last byte."""
    inline_bytes: int = 128_000
    """Largest document in the body of an asynchronous request."""
    object_bytes: int = 1024 * MIB
    """Largest document that an asynchronous request names by its InputLocation."""
    notified_bytes: int = 128 * 1024
    """Largest response that a notification includes."""
    num_queued: int = 120_000
    """Largest number of asynchronous requests of an endpoint that wait or run."""
    ping_seconds: float = 2
    """Time for a response to `/ping`."""
    stop_seconds: float = 30
    """Time between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Undocumented behaviour of SageMaker, which `--assume` can change.

    No program should rely on the defaults.
    """

    retried_statuses: str = "429,5xx"
    """Statuses after which a transform job retries, if it has retries left."""
    retry_seconds: float = 1.0
    """Delay before the retry."""
    output_naming: str = "relative"
    """Output key of a transform job: `relative` to the input prefix, or the `full` key.
    """
    keeps_newlines: bool = True
    """Whether a line is sent with the newline at its end."""
    failure_suffix: str = "-error.out"
    """Suffix of the failure object of an asynchronous request."""
    concurrency: int = 4
    """Number of concurrent asynchronous requests, if the endpoint config does not set
    them."""
    startup_seconds: float = 1200.0
    """Time for a container to become healthy, if the endpoint config does not set it.
    """
    replace_seconds: float = 300.0
    """Time after which a container that became unhealthy is replaced."""
    backlog_counts_running: bool = False
    """Whether ApproximateBacklogSize includes requests that the container processes."""
    metrics_seconds: float = 10.0
    """Interval at which metrics are published; SageMaker publishes every minute."""

    def is_retried(self, status: int) -> bool:
        """Return True if a transform job retries a request with this status."""
        patterns = self.retried_statuses.split(",")
        return str(status) in patterns or f"{status // 100}xx" in patterns


ASSUME_HINT = "use --assume NAME=VALUE; deploy/emulator/README.md lists the names"


def parse_assumptions(pairs: Iterable[str]) -> Assumptions:
    """Parse `NAME=VALUE` pairs; raises ConfigError for unknown names and bad values."""
    defaults: dict[str, Any] = dataclasses.asdict(Assumptions())
    values: dict[str, Any] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in defaults:
            raise ConfigError(
                f"{name} is not one of {', '.join(defaults)}", hint=ASSUME_HINT
            )
        default = defaults[name]
        try:
            if isinstance(default, bool):
                values[name] = {"true": True, "false": False}[text.lower()]
            else:
                values[name] = type(default)(text)
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"{name} cannot be {text!r}: give a value like {default}",
                hint=ASSUME_HINT,
            ) from error
    if values.get("output_naming", "full") not in ("relative", "full"):
        raise ConfigError("output_naming must be relative or full", hint=ASSUME_HINT)
    return Assumptions(**values)
