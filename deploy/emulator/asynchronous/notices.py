"""What an asynchronous endpoint publishes about a request that is done."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = ["notice"]


def notice(
    *,
    region: str,
    endpoint: str,
    inference_id: str,
    received: datetime,
    now: datetime,
    headers: Mapping[str, str],
    document: str | None,
    output: str,
    content_type: str | None,
    failure: str | None,
    content: bytes | None,
) -> str:
    """A JSON object; `content` only where the topic wants it."""
    asked = {
        "accept": headers.get("Accept"),
        "contentType": headers.get("Content-Type"),
        "endpointName": endpoint,
        "inputLocation": document,
    }
    message: dict[str, Any] = {
        "awsRegion": region,
        "eventTime": _time(now),
        "receivedTime": _time(received),
        "invocationStatus": "Failed" if failure else "Completed",
    }
    if failure:
        message["failureReason"] = failure
    message["requestParameters"] = {n: v for n, v in asked.items() if v is not None}
    if not failure:
        message["responseParameters"] = {
            "contentType": content_type,
            "outputLocation": output,
        }
    if content is not None:
        message["responseBody"] = {
            "content": base64.b64encode(content).decode(),
            "encoding": "BASE64",
        }
    return json.dumps(
        {
            **message,
            "inferenceId": inference_id,
            "eventVersion": "1.0",
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
        }
    )


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03}Z"
