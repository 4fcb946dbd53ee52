"""SageMaker's numbers, and what nobody outside of it knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deploy.errors import ConfigError

__all__ = ["Assumed", "Limits", "assumed_from"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What SageMaker allows. Seconds, and bytes."""

    body_bytes: int = 25 * MIB
    """Of a real-time request."""
    answer_seconds: float = 60
    """For a real-time answer, from its first byte in to its last byte out."""
    stream_seconds: float = 8 * 60
    """For a streamed one."""
    inline_bytes: int = 128_000
    """Of an asynchronous request that carries its document."""
    object_bytes: int = 1024 * MIB
    """Of one that names it."""
    notified_bytes: int = 128 * 1024
    """Of an answer that fits into a notification."""
    num_queued: int = 120_000
    """Asynchronous requests in flight."""
    ping_seconds: float = 2
    stop_seconds: float = 30
    """From SIGTERM to SIGKILL."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is not documented: settable, and never to be relied on."""

    retried_statuses: str = "429,5xx"
    """Answers after which a transform job tries again, where it may."""
    retry_seconds: float = 1.0
    """Before it does."""
    output_naming: str = "relative"
    """Of a transform job's objects: `relative` to the input prefix, or by the `full`
    key."""
    keeps_newlines: bool = True
    """A line is sent with the newline at its end."""
    failure_suffix: str = "-error.out"
    """Of the object that says why an asynchronous request failed."""
    concurrency: int = 4
    """Asynchronous requests at once, where the endpoint config says nothing."""
    startup_seconds: float = 1200.0
    """For a container to become healthy, where the endpoint config says nothing."""
    replace_seconds: float = 300.0
    """A container that was healthy and then is not for so long is replaced."""
    backlog_counts_running: bool = False
    """Documents that are being read are in ApproximateBacklogSize."""
    metrics_seconds: float = 10.0
    """Between two looks at what is published to CloudWatch; SageMaker's are minutes."""

    def is_retried(self, status: int) -> bool:
        patterns = self.retried_statuses.split(",")
        return str(status) in patterns or f"{status // 100}xx" in patterns


ASSUME_HINT = "--assume NAME=VALUE; deploy/emulator/README.md has them all"


def assumed_from(pairs: Iterable[str]) -> Assumed:
    """`name=value` each; raises ConfigError with the name."""
    known: dict[str, Any] = dataclasses.asdict(Assumed())
    chosen: dict[str, Any] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in known:
            raise ConfigError(
                f"{name} is not one of {', '.join(known)}", hint=ASSUME_HINT
            )
        default = known[name]
        try:
            if isinstance(default, bool):
                chosen[name] = {"true": True, "false": False}[text.lower()]
            else:
                chosen[name] = type(default)(text)
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"{name} is like {default}, not {text!r}", hint=ASSUME_HINT
            ) from error
    if chosen.get("output_naming", "full") not in ("relative", "full"):
        raise ConfigError("output_naming is relative or full", hint=ASSUME_HINT)
    return Assumed(**chosen)
