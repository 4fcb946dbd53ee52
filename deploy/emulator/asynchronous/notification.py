"""Notification that an asynchronous endpoint publishes about a processed request."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from deploy.emulator.asynchronous.request import AcceptedRequest, RequestOutcome

__all__ = ["build_notification"]


def build_notification(
    request: AcceptedRequest, outcome: RequestOutcome, *, is_content_included: bool
) -> str:
    """Return the JSON message about a request that has just been processed.

    `is_content_included` says whether the topic receives the content of the outcome.
    """
    has_failed = outcome.failure_reason is not None
    is_inline = isinstance(request.document, bytes)
    parameters = {
        "accept": request.headers.get("Accept"),
        "contentType": request.headers.get("Content-Type"),
        "endpointName": request.endpoint,
        "inputLocation": None if is_inline else str(request.document),
    }
    message: dict[str, Any] = {
        "awsRegion": request.region,
        "eventTime": _format_time(datetime.now(UTC)),
        "receivedTime": _format_time(datetime.fromtimestamp(request.received, UTC)),
        "invocationStatus": "Failed" if has_failed else "Completed",
    }
    if has_failed:
        message["failureReason"] = outcome.failure_reason
    message["requestParameters"] = {
        name: value for name, value in parameters.items() if value is not None
    }
    if not has_failed:
        message["responseParameters"] = {
            "contentType": outcome.content_type,
            "outputLocation": str(request.output),
        }
    if is_content_included:
        message["responseBody"] = {
            "content": base64.b64encode(outcome.content).decode(),
            "encoding": "BASE64",
        }
    return json.dumps(
        {
            **message,
            "inferenceId": request.inference_id,
            "eventVersion": "1.0",
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
        }
    )


def _format_time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"
