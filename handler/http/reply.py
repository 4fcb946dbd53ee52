"""One HTTP reply: status, headers and body, safe to hand to TorchServe."""

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
    """What goes back to one client."""

    status: int
    media_type: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    pages: tuple[PageResult, ...] = field(default=(), repr=False)
    """What was read, for the metrics and the log."""
    code: str | None = None
    """The error's code, where it is one."""

    def with_body(self, body: bytes) -> Reply:
        return replace(self, body=body)

    def with_header(self, name: str, value: str) -> Reply:
        return replace(self, headers={**self.headers, name: value})

    @property
    def phrase(self) -> str:
        """The reason phrase: TorchServe leaves it empty otherwise."""
        if self.status == ClientGoneError.status:  # by convention, but in no standard
            return ClientGoneError.title
        return http.HTTPStatus(self.status).phrase


def problem_reply(
    error: HandlerError, request_id: str, pages: tuple[PageResult, ...] = ()
) -> Reply:
    """RFC 9457: what happened, in words and as a code."""
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
    """Printable ASCII only: anything else in a header ends TorchServe's worker."""
    return "".join(c for c in value if " " <= c <= "~")[:1024]
