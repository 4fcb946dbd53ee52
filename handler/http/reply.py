"""HTTP replies and problem details, in a form that TorchServe accepts."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from handler.errors import ClientGoneError, HandlerError
from handler.schema import PageResult

__all__ = ["PROBLEM", "Reply", "problem_reply", "strip_header_value"]

PROBLEM = "application/problem+json"
RETRY_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Reply:
    """HTTP reply to one request."""

    status: int
    media_type: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    pages: tuple[PageResult, ...] = field(default=(), repr=False)
    """Results of the pages, for metrics and the log."""
    code: str | None = None
    """Code of the error; None if the reply is not an error."""

    def with_body(self, body: bytes) -> Reply:
        return replace(self, body=body)

    def with_header(self, name: str, value: str) -> Reply:
        return replace(self, headers={**self.headers, name: value})

    @property
    def phrase(self) -> str:
        """Reason phrase of the status; TorchServe would leave it empty."""
        # Status 499 is a convention of nginx, which no standard contains.
        if self.status == ClientGoneError.status:
            return ClientGoneError.title
        return http.HTTPStatus(self.status).phrase


def problem_reply(
    error: HandlerError, request_id: str, pages: tuple[PageResult, ...] = ()
) -> Reply:
    """Return the reply for an error: problem details (RFC 9457) with its code.

    Status 503 has a Retry-After header.
    """
    body = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    headers = {"Retry-After": str(RETRY_SECONDS)} if error.status == 503 else {}
    return Reply(
        error.status, PROBLEM, json.dumps(body).encode(), headers, pages, error.code
    )


def strip_header_value(value: str) -> str:
    """Return the printable ASCII characters of a header's value, at most 1,024.

    Other characters in a header would end the worker.
    """
    return "".join(c for c in value if " " <= c <= "~")[:1024]
