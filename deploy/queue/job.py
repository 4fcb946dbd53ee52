"""One reading of one document, from when it is noted until it has an answer.

A job is one reading: contents, options and format, named by the key of those, so that
the same document is never read twice. A place is somebody who asked: a file or an
object, and the job that reads what it holds now. Two files of the same contents are two
places and one job.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from deploy.documents.document import Document, Refused
from deploy.documents.options import Option
from deploy.failures import is_permanent
from deploy.results.parse import TRANSIENT_CODES

__all__ = ["Job", "Place", "State", "current_owner", "is_owner_gone", "new_run_name"]

# A page on which the engine dies every time is the page's fault after all.
MAX_PARTIAL_ATTEMPTS = 3
KEPT = ("output", "pages_read", "pages_failed")


class State(StrEnum):
    """Of a job."""

    NEW = "new"
    """Not sent, or refused when it was."""
    SENDING = "sending"
    """A call is about to be made, or was: where its maker is gone nobody knows."""
    SUBMITTED = "submitted"
    """SageMaker has it."""
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One reading of one document."""

    key: str
    source: str
    """The first that asked for it: a path, or s3://bucket/key."""
    media_type: str
    size: int
    content: str
    options: Mapping[str, Option]
    accept: str
    state: State = State.NEW
    attempt: int = 1
    run: str = "first"
    """Of those that were noted together: where their answers come."""
    num_pages: int | None = None
    """Expected; None where only reading it tells."""
    output: str | None = None
    failure: str | None = None
    """s3://bucket/key of the answer, of the failure: where they will be."""
    owner: str | None = None
    """Who is sending it: host/process."""
    since: float = 0.0
    """When it came into this state, in seconds of the epoch."""
    code: str | None = None
    """Why it failed."""
    detail: str | None = None
    pages_read: int | None = None
    pages_failed: Mapping[str, int] = field(default_factory=dict)
    """Pages of a document that was read all the same, by the code of their error."""
    kept: Mapping[str, Any] = field(default_factory=dict)
    """While a document that was read in part is read again: output, pages_read and
    pages_failed of the attempt before, which count unless this one is better."""
    stamp: str | None = field(default=None, compare=False)
    """Which version of the record this was; None: there was none."""

    @classmethod
    def of(cls, document: Document, run: str, now: float) -> Job:
        return cls(
            key=document.key,
            source=document.source,
            media_type=document.media_type,
            size=document.size,
            content=document.content,
            options=document.options,
            accept=document.accept,
            num_pages=document.num_pages,
            run=run,
            since=now,
        )

    @classmethod
    def refused(cls, refused: Refused, run: str, now: float) -> Job:
        """Of what could not be sent: it has failed before anybody read it."""
        return cls(
            key=refused.key,
            source=refused.source,
            media_type="",
            size=0,
            content="",
            options=refused.options,
            accept=refused.accept,
            state=State.FAILED,
            run=run,
            since=now,
            code=refused.code,
            detail=refused.reason,
        )

    @property
    def was_refused(self) -> bool:
        """Before anything could be sent."""
        return not self.content

    @property
    def inference_id(self) -> str:
        """The same whenever the same attempt is sent."""
        return f"{self.key}-{self.attempt}"

    @property
    def is_settled(self) -> bool:
        return self.state in (State.DONE, State.FAILED)

    @property
    def is_read(self) -> bool:
        return self.state is State.DONE

    @property
    def is_unsent(self) -> bool:
        """As far as anybody knows."""
        return self.state in (State.NEW, State.SENDING)

    @property
    def is_retryable(self) -> bool:
        """Return whether another attempt may read the document, or its missing pages.

        A failure before the document was sent counts too: it cost nothing.
        """
        if self.state is State.DONE:
            return not TRANSIENT_CODES.isdisjoint(self.pages_failed) and (
                self.attempt < MAX_PARTIAL_ATTEMPTS
            )
        return self.state is State.FAILED and not self.has_failed_permanently

    @property
    def has_failed_permanently(self) -> bool:
        """Return whether a paid attempt failed in a way that a retry would repeat."""
        is_paid_for = self.state is State.FAILED and self.output is not None
        return is_paid_for and is_permanent(self.code)

    def again(self) -> Job:
        """Its next attempt, whose answer has a place of its own."""
        kept: Mapping[str, Any] = {}
        if self.state is State.DONE:
            kept = {name: getattr(self, name) for name in KEPT}
        return replace(
            self, state=State.NEW, attempt=self.attempt + 1, kept=kept, output=None,
            failure=None, code=None, detail=None, pages_read=None, pages_failed={},
        )  # fmt: skip

    def settled(self, **outcome: Any) -> Job:
        """With what came of it; or with what was there before, where that is more."""
        ended = replace(self, code=None, detail=None)
        ended = replace(ended, **outcome)
        if self.kept and self._had_more(ended):
            ended = replace(
                ended, state=State.DONE, code=None, detail=None, **self.kept
            )
        return replace(ended, kept={})

    def _had_more(self, ended: Job) -> bool:
        """Whether the attempt before read more pages than this one."""
        before: int | None = self.kept["pages_read"]
        if before is not None:
            return (ended.pages_read or 0) < before
        # Markdown says only which it lacks.
        lacked: int = sum(self.kept["pages_failed"].values())
        return ended.state is State.FAILED or sum(ended.pages_failed.values()) > lacked


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody who asked for a document to be read."""

    id: str
    name: str
    """Below a folder of results."""
    source: str
    key: str
    """Of the job that reads what it holds."""
    written: Mapping[str, str] = field(default_factory=dict)
    """What was fetched for it: where, and the sha256 of what was written there."""


def new_run_name(now: float) -> str:
    """A name that no other run has: what is noted in it has its answers to itself."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def current_owner() -> str:
    """This process, as the owner of what it is sending."""
    return f"{socket.gethostname()}/{os.getpid()}"


def is_owner_gone(
    owner: str | None, is_running: Callable[[int], bool] | None = None
) -> bool:
    """The process ended, as far as this machine can tell; another one's may live."""
    host, _, process = (owner or "").rpartition("/")
    if host != socket.gethostname():
        return not owner
    return not (is_running or _is_running)(int(process))


def _is_running(process: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True
