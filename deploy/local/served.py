"""An endpoint that is there, and what every request to one must be."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.local.backend import Hosted
from deploy.local.containers import Container
from deploy.local.logs import Stream
from deploy.local.wire import Refusal

__all__ = ["ATTRIBUTES", "Served", "check_attributes"]

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
MAX_ATTRIBUTES = 1024


@dataclass(frozen=True, slots=True)
class Served:
    """An endpoint, its container and its log stream."""

    hosted: Hosted
    container: Container
    stream: Stream


def check_attributes(text: str | None) -> None:
    """Raises Refusal for what SageMaker does not take as CustomAttributes."""
    if text is None:
        return
    if len(text) > MAX_ATTRIBUTES or not all(" " <= c <= "~" for c in text):
        raise Refusal(
            "ValidationError",
            f"CustomAttributes has at most {MAX_ATTRIBUTES} visible US-ASCII "
            "characters.",
        )
