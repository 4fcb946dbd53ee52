"""Settings of a batch transform job, and the environment of its container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.emulator.limits import MIB

__all__ = ["BatchSettings", "build_batch_environment"]

STRATEGIES = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Settings with which a job sends its records to the container."""

    concurrency: int
    payload_mb: int
    strategy: str
    timeout_seconds: int
    max_retries: int

    @classmethod
    def resolve(
        cls, request: Mapping[str, Any], parameters: Mapping[str, Any]
    ) -> BatchSettings:
        """Combine the request, the container's `/execution-parameters`, and defaults.

        A value of the request has precedence over one of the container, and that over
        SageMaker's default.
        """
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
    def max_payload_bytes(self) -> int | None:
        """Largest payload; None if payloads of any size are sent chunked."""
        return self.payload_mb * MIB or None


def build_batch_environment(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that a job adds to the environment of its model."""
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
