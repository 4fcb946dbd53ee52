"""Endpoint with its container, and validation of request parameters."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.emulator.backend import Backend, HostedEndpoint
from deploy.emulator.containers import Container
from deploy.emulator.http.wire import Request, ServiceError
from deploy.emulator.logs import LogStream

__all__ = ["CUSTOM_ATTRIBUTES", "HEADER_PREFIX", "ServedEndpoint", "check_parameters"]

HEADER_PREFIX = "X-Amzn-SageMaker-"
CUSTOM_ATTRIBUTES = f"{HEADER_PREFIX}Custom-Attributes"
SHARED = {
    "CustomAttributes": CUSTOM_ATTRIBUTES,
    "InferenceId": f"{HEADER_PREFIX}Inference-Id",
}
REAL_TIME = {**SHARED, "ContentType": "Content-Type"}
PARAMETERS = {
    "invoke_endpoint": {
        **REAL_TIME,
        "Accept": "Accept",
        "SessionId": f"{HEADER_PREFIX}Session-Id",
    },
    "invoke_endpoint_with_response_stream": {
        **REAL_TIME,
        "Accept": f"{HEADER_PREFIX}Accept",
        "SessionId": f"{HEADER_PREFIX}Session-Id",
    },
    "invoke_endpoint_async": {
        **SHARED,
        **{
            name: f"{HEADER_PREFIX}{header}"
            for name, header in (
                ("ContentType", "Content-Type"),
                ("Accept", "Accept"),
                ("InputLocation", "InputLocation"),
                ("S3OutputPathExtension", "S3OutputPathExtension"),
                ("Filename", "Filename"),
            )
        },
    },
}
"""Header of each boto3 parameter, by operation.

The queue validates InvocationTimeoutSeconds and RequestTTLSeconds itself.
"""
MAX_ATTRIBUTES_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class ServedEndpoint:
    """Endpoint with its container and its log stream."""

    hosted: HostedEndpoint
    container: Container
    stream: LogStream


def check_parameters(
    backend: Backend, region: str, operation: str, request: Request
) -> None:
    """Raise ServiceError for parameters that the service model does not allow."""
    params = {}
    for name, header in PARAMETERS[operation].items():
        if (value := request.get_header(header)) is not None:
            params[name] = value
    _check_custom_attributes(params.get("CustomAttributes"))
    violations = [
        violation
        for violation in backend.find_violations(region, operation, params)
        # Endpoint name and body are always set, although not as headers.
        if not violation.endswith("is required")
    ]
    if violations:
        raise ServiceError(
            "ValidationError",
            f"{len(violations)} invalid parameters: " + "; ".join(violations),
        )


def _check_custom_attributes(text: str | None) -> None:
    if text is None:
        return
    if len(text) > MAX_ATTRIBUTES_CHARACTERS or not all(" " <= c <= "~" for c in text):
        raise ServiceError(
            "ValidationError",
            f"CustomAttributes has at most {MAX_ATTRIBUTES_CHARACTERS} visible "
            "US-ASCII characters.",
        )
