"""Client that posts files to a server, and the outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.sweep.files import content_type_of

__all__ = ["DocumentPoster", "PostOutcome"]

MAX_RETRY_AFTER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PostOutcome:
    """Outcome of posting a file.

    `status` is None if the connection was lost; `code` then names the error.
    `document` and `pages` hold the statuses of a document that was read, `warnings`
    the codes of all its warnings. `seconds` are those of the last attempt.
    """

    path: Path
    num_bytes: int
    seconds: float
    status: int | None
    code: str | None = None
    detail: str | None = None
    document: str | None = None
    pages: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    num_retries: int = 0

    @property
    def is_server_fault(self) -> bool:
        """True for a lost connection and for a 5xx, an overloaded server included."""
        return self.status is None or self.status >= 500

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "bytes": self.num_bytes,
            "seconds": round(self.seconds, 3),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "document": self.document,
            "pages": list(self.pages),
            "warnings": list(self.warnings),
            "retries": self.num_retries,
        }


@dataclass(frozen=True)
class DocumentPoster:
    """Client of the server at `address`.

    `options` are query parameters. With `declares_type`, the extension determines the
    content type. A 503 with Retry-After and a refused connection are retried
    `max_retries` times.
    """

    address: str
    options: dict[str, str] = field(default_factory=dict)
    declares_type: bool = True
    timeout_seconds: float = 330.0
    max_retries: int = 5
    sleep: Callable[[float], object] = time.sleep

    def post(self, path: Path) -> PostOutcome:
        """Post a file, and return the outcome of the last attempt.

        Sleep before each retry.
        """
        body = path.read_bytes()
        number = 0
        while True:
            outcome, retry_after = self._attempt(path, body, number)
            if retry_after is None or number == self.max_retries:
                return outcome
            number += 1
            self.sleep(min(retry_after, MAX_RETRY_AFTER_SECONDS))

    def _attempt(
        self, path: Path, body: bytes, num_retries: int
    ) -> tuple[PostOutcome, float | None]:
        """Return the outcome, and the seconds to wait if it should be retried."""
        kind = content_type_of(path) if self.declares_type else None
        started = time.monotonic()
        try:
            answer = httpx.post(
                f"{self.address}/invocations",
                content=body,
                params=self.options,
                headers={
                    "Accept": "application/json",
                    "Content-Type": kind or "application/octet-stream",
                },
                timeout=self.timeout_seconds,
            )
        except httpx.HTTPError as error:
            outcome = PostOutcome(
                path,
                len(body),
                time.monotonic() - started,
                None,
                code=type(error).__name__,
                num_retries=num_retries,
            )
            return outcome, 1.0 if isinstance(error, httpx.ConnectError) else None
        seconds = time.monotonic() - started
        outcome = PostOutcome(
            path,
            len(body),
            seconds,
            answer.status_code,
            num_retries=num_retries,
            **_read_body(answer),
        )
        return outcome, _retry_after(answer)


def _read_body(answer: httpx.Response) -> dict[str, Any]:
    """Return the fields of an Outcome that depend on the body."""
    try:
        body = answer.json()
    except ValueError:
        return {"code": "not_json"}
    if answer.status_code != 200:
        return {"code": body.get("code"), "detail": body.get("detail")}
    pages = body.get("pages", [])
    warnings = [*body.get("warnings", [])]
    for page in pages:
        warnings += page.get("warnings") or []
    errors = [page["error"]["code"] for page in pages if page.get("error")]
    return {
        "code": ",".join(sorted(set(errors))) or None,
        "document": body.get("status"),
        "pages": tuple(page["status"] for page in pages),
        "warnings": tuple(warning["code"] for warning in warnings),
    }


def _retry_after(answer: httpx.Response) -> float | None:
    """Return the seconds of a 503's Retry-After; None for any other answer."""
    if answer.status_code != 503:
        return None
    try:
        return float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
