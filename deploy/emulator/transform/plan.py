"""How a transform job sends its records, and what its container is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.emulator.limits import MIB

__all__ = ["Plan", "batch_environment"]

STRATEGIES = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the job says, else the container, else SageMaker's defaults."""

    concurrency: int
    payload_mb: int
    strategy: str
    timeout_seconds: int
    max_retries: int

    @classmethod
    def of(cls, request: Mapping[str, Any], parameters: Mapping[str, Any]) -> Plan:
        client = request.get("ModelClientConfig") or {}
        size = request.get("MaxPayloadInMB")
        if size is None:
            size = parameters.get("MaxPayloadInMB", 6)
        strategy = request.get("BatchStrategy") or parameters.get("BatchStrategy")
        return cls(
            concurrency=int(
                request.get("MaxConcurrentTransforms")
                or parameters.get("MaxConcurrentTransforms")
                or 1
            ),
            payload_mb=int(size),
            strategy=STRATEGIES.get(str(strategy), str(strategy or "MULTI_RECORD")),
            timeout_seconds=int(client.get("InvocationsTimeoutInSeconds", 600)),
            max_retries=int(client.get("InvocationsMaxRetries", 3)),
        )

    @property
    def max_bytes(self) -> int | None:
        """None: sent in chunks, however large."""
        return self.payload_mb * MIB or None


def batch_environment(request: Mapping[str, Any]) -> dict[str, str]:
    """What a job adds to the environment of its model."""
    environ = {**(request.get("Environment") or {}), "SAGEMAKER_BATCH": "true"}
    for variable, value in (
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", request.get("MaxPayloadInMB")),
        (
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
            request.get("MaxConcurrentTransforms"),
        ),
        (
            "SAGEMAKER_BATCH_STRATEGY",
            STRATEGIES.get(request.get("BatchStrategy", "")),
        ),
    ):
        if value is not None:
            environ[variable] = str(value)
    return environ
