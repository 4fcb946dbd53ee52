"""Requests and responses of AWS's HTTP protocols, as a WSGI application sees them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

__all__ = [
    "HOME",
    "Environ",
    "Response",
    "error_response",
    "forward",
    "is_reading",
    "parse_call",
    "parse_region",
    "send_access_denied",
    "send_connection_lost",
    "send_json",
    "send_regions",
]

Environ = dict[str, Any]
"""WSGI environment of a request."""
Response = tuple[str, dict[str, Any]]
"""HTTP status line, and the body as a JSON object."""
HOME = "us-east-1"
READING_PREFIXES = ("Describe", "List", "Get", "Filter", "Batch", "BatchGet", "Head")


def parse_region(environ: Environ) -> str:
    """Return the region that a request was signed for."""
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    scope = authorization.partition("Credential=")[2].split("/")
    return scope[2] if len(scope) > 2 else HOME


def send_access_denied(
    start: Callable[..., Any], call: str, text: str
) -> Iterable[bytes]:
    """Send an access denied error with `text`, in the service's format."""
    if call.startswith("iam:"):
        error = f"<Error><Code>AccessDenied</Code><Message>{text}</Message></Error>"
        return _send_xml(
            start, "403 Forbidden", f"<ErrorResponse>{error}</ErrorResponse>"
        )
    if not call.startswith("ec2:"):
        return send_json(start, error_response("AccessDeniedException", text))
    error = (
        f"<Error><Code>UnauthorizedOperation</Code><Message>{text}</Message></Error>"
    )
    return _send_xml(
        start, "403 Forbidden", f"<Response><Errors>{error}</Errors></Response>"
    )


def send_regions(start: Callable[..., Any], regions: list[str]) -> Iterable[bytes]:
    """Send the response of ec2:DescribeRegions."""
    items = "".join(f"<item><regionName>{name}</regionName></item>" for name in regions)
    return _send_xml(
        start,
        "200 OK",
        f"<DescribeRegionsResponse><regionInfo>{items}</regionInfo>"
        "</DescribeRegionsResponse>",
    )


def _send_xml(start: Callable[..., Any], status: str, text: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(text)))])
    return [text.encode()]


def is_reading(call: str) -> bool:
    """Return True if a call, as service:Operation, changes no resource."""
    operation = call.partition(":")[2]
    return operation.startswith(READING_PREFIXES) or operation in ("GET", "HEAD")


def parse_call(environ: Environ, body: bytes) -> str:
    """Return the call of a request as service:Operation, for all AWS protocols.

    Requests of REST protocols have their HTTP method as operation.
    """
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    scope = authorization.partition("Credential=")[2].split("/")
    service = scope[3] if len(scope) > 3 else "?"
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return f"{service}:{target.rpartition('.')[2]}"
    if "/operation/" in environ["PATH_INFO"]:
        return f"{service}:{environ['PATH_INFO'].rpartition('/')[2]}"
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form"):
        return f"{service}:{parse_qs(body.decode()).get('Action', ['?'])[0]}"
    return f"{service}:{environ['REQUEST_METHOD']}"


def forward(
    app: Callable[..., Iterable[bytes]], environ: Environ, body: bytes
) -> tuple[bytes, str, list[tuple[str, str]]]:
    """Call `app` with another body; return the response's body, status and headers."""
    status_and_headers: list[Any] = []
    request = {
        **environ,
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
    }

    def start(status: str, headers: list[tuple[str, str]], *_: object) -> None:
        status_and_headers[:] = [status, headers]

    content = b"".join(app(request, start))
    return content, status_and_headers[0], status_and_headers[1]


def error_response(code: str, message: str) -> Response:
    """Return an error in the format of AWS's JSON protocol."""
    return "400 BAD REQUEST", {"__type": code, "message": message}


def send_connection_lost(
    start: Callable[..., Any], call: str, moment: str
) -> Iterable[bytes]:
    """Send the error response of a lost connection, in the service's format."""
    text = f"connection lost {moment} the call"
    if call.partition(":")[0] not in ("s3", "iam"):
        return send_json(start, error_response("Injected", text))
    error = f"<Error><Code>Injected</Code><Message>{text}</Message></Error>"
    if call.startswith("iam"):
        error = f"<ErrorResponse>{error}</ErrorResponse>"
    start("400 Bad Request", [("Content-Length", str(len(error)))])
    return [error.encode()]


def send_json(start: Callable[..., Any], answer: Response) -> Iterable[bytes]:
    """Send a status line and a JSON body."""
    status, content = answer
    body = json.dumps(content).encode()
    start(
        status,
        [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("Content-Length", str(len(body))),
        ],
    )
    return [body]
