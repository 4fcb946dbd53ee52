"""An endpoint that is there, and what every request to one must be."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.emulator.backend import Backend, Hosted
from deploy.emulator.containers import Container
from deploy.emulator.http.wire import Refusal, Request
from deploy.emulator.logs import Stream

__all__ = ["ATTRIBUTES", "PREFIX", "Served", "check"]

PREFIX = "X-Amzn-SageMaker-"
ATTRIBUTES = f"{PREFIX}Custom-Attributes"
SHARED = {
    "CustomAttributes": ATTRIBUTES,
    "InferenceId": f"{PREFIX}Inference-Id",
}
REAL_TIME = {**SHARED, "ContentType": "Content-Type"}
PARAMETERS = {
    "invoke_endpoint": {
        **REAL_TIME,
        "Accept": "Accept",
        "SessionId": f"{PREFIX}Session-Id",
    },
    "invoke_endpoint_with_response_stream": {
        **REAL_TIME,
        "Accept": f"{PREFIX}Accept",
        "SessionId": f"{PREFIX}Session-Id",
    },
    "invoke_endpoint_async": {
        **SHARED,
        **{
            name: f"{PREFIX}{header}"
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
"""Headers by the names that boto3 has for them; times are looked at by themselves."""
MAX_ATTRIBUTES = 1024


@dataclass(frozen=True, slots=True)
class Served:
    """An endpoint, its container and its log stream."""

    hosted: Hosted
    container: Container
    stream: Stream


def check(backend: Backend, region: str, operation: str, request: Request) -> None:
    """Raises Refusal for parameters that SageMaker's own model of them excludes."""
    params = {}
    for name, header in PARAMETERS[operation].items():
        if (value := request.header(header)) is not None:
            params[name] = value
    _check_attributes(params.get("CustomAttributes"))
    refused = [
        found
        for found in backend.violations(region, operation, params)
        # The name of the endpoint is in the path, the document in the body.
        if not found.endswith("is required")
    ]
    if refused:
        raise Refusal(
            "ValidationError",
            f"{len(refused)} of the parameters cannot be: " + "; ".join(refused),
        )


def _check_attributes(text: str | None) -> None:
    if text is None:
        return
    if len(text) > MAX_ATTRIBUTES or not all(" " <= c <= "~" for c in text):
        raise Refusal(
            "ValidationError",
            f"CustomAttributes has at most {MAX_ATTRIBUTES} visible US-ASCII "
            "characters.",
        )
