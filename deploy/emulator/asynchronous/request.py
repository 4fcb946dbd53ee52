"""Accepted request of an asynchronous endpoint, and its outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from deploy.emulator.backend import S3Uri

__all__ = ["AcceptedRequest", "RequestOutcome"]


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedRequest:
    """Request that an asynchronous endpoint has accepted, compared by identity."""

    inference_id: str
    region: str
    endpoint: str
    headers: dict[str, str]
    """Headers of the request to the container."""
    document: bytes | S3Uri
    output: S3Uri
    failure: S3Uri | None
    timeout_seconds: int
    ttl_seconds: int
    received: float = field(default_factory=time.time)
    """Time of arrival, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """Outcome of a request, as the endpoint stores and publishes it."""

    content: bytes
    """Content of the output object, or of the failure object."""
    content_type: str | None = None
    failure_reason: str | None = None
    """None if the request succeeded."""
