"""Jobs of a queue: one reading of a document each, and the places that requested it.

A job is identified by contents, options and format, so that the same document is never
read twice. A place is a file or an object together with the job that reads its current
contents. Two files with the same contents are two places and one job.
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

# After this many attempts, a page that fails with a transient error fails for good.
MAX_PARTIAL_ATTEMPTS = 3
KEPT_FIELDS = ("output", "pages_read", "pages_failed")


class State(StrEnum):
    """State of a job."""

    NEW = "new"
    """The document is not sent, or SageMaker rejected the request."""
    SENDING = "sending"
    """A request is about to be sent. If its process ended, it may have been sent or
    not."""
    SUBMITTED = "submitted"
    """SageMaker has accepted the request."""
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """Reading of one document."""

    key: str
    source: str
    """First source that requested it: a path, or s3://bucket/key."""
    media_type: str
    size: int
    content: str
    options: Mapping[str, Option]
    accept: str
    state: State = State.NEW
    attempt: int = 1
    run: str = "first"
    """Name of the submission that added the job; results are written below it."""
    num_pages: int | None = None
    """Expected number of pages; None if it is unknown until the document is read."""
    output: str | None = None
    """S3 address where the result will be written."""
    failure: str | None = None
    """S3 address where the failure will be written."""
    owner: str | None = None
    """Process that is sending the job, as host/process."""
    since: float = 0.0
    """Time when the job entered its state, in seconds since the epoch."""
    code: str | None = None
    """Error code of a failed job."""
    detail: str | None = None
    pages_read: int | None = None
    pages_failed: Mapping[str, int] = field(default_factory=dict)
    """Number of failed pages of a document that was read, by error code."""
    kept: Mapping[str, Any] = field(default_factory=dict)
    """Values of `KEPT_FIELDS` from the previous attempt while missing pages are read
    again. They are restored unless the new attempt read more pages."""
    stamp: str | None = field(default=None, compare=False)
    """Version of the stored record; None if it is not stored."""

    @classmethod
    def from_document(cls, document: Document, run: str, now: float) -> Job:
        """Return a new job for a document."""
        return cls(
            key=document.key,
            source=document.source,
            media_type=document.media_type,
            size=document.size,
            content=document.content_key,
            options=document.options,
            accept=document.accept,
            num_pages=document.num_pages,
            run=run,
            since=now,
        )

    @classmethod
    def from_refused(cls, refused: Refused, run: str, now: float) -> Job:
        """Return a failed job for a document that could not be sent."""
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
        """True if the document failed before it could be sent."""
        return not self.content

    @property
    def inference_id(self) -> str:
        """InferenceId of the request; the same whenever the same attempt is sent."""
        return f"{self.key}-{self.attempt}"

    @property
    def is_settled(self) -> bool:
        """True if the job has ended."""
        return self.state in (State.DONE, State.FAILED)

    @property
    def is_read(self) -> bool:
        """True if the document was read."""
        return self.state is State.DONE

    @property
    def is_unsent(self) -> bool:
        """True unless SageMaker is known to have the request."""
        return self.state in (State.NEW, State.SENDING)

    @property
    def is_retryable(self) -> bool:
        """True if another attempt may read the document, or its missing pages.

        A failure before the document was sent counts too: it cost nothing.
        """
        if self.state is State.DONE:
            return not TRANSIENT_CODES.isdisjoint(self.pages_failed) and (
                self.attempt < MAX_PARTIAL_ATTEMPTS
            )
        return self.state is State.FAILED and not self.has_failed_permanently

    @property
    def has_failed_permanently(self) -> bool:
        """True if a paid attempt failed in a way that a retry would repeat."""
        is_paid_for = self.state is State.FAILED and self.output is not None
        return is_paid_for and is_permanent(self.code)

    def next_attempt(self) -> Job:
        """Return a copy of the job as its next attempt, in state NEW.

        Its result will be written to another address. The result of a document that was
        read is kept for comparison.
        """
        kept: Mapping[str, Any] = {}
        if self.state is State.DONE:
            kept = {name: getattr(self, name) for name in KEPT_FIELDS}
        return replace(
            self, state=State.NEW, attempt=self.attempt + 1, kept=kept, output=None,
            failure=None, code=None, detail=None, pages_read=None, pages_failed={},
        )  # fmt: skip

    def with_outcome(self, **outcome: Any) -> Job:
        """Return a copy of the job with an outcome, given by field.

        If the previous attempt read more pages, the copy has its result instead.
        """
        job = replace(self, code=None, detail=None)
        job = replace(job, **outcome)
        if self.kept and self._previous_read_more(job):
            job = replace(job, state=State.DONE, code=None, detail=None, **self.kept)
        return replace(job, kept={})

    def _previous_read_more(self, ended: Job) -> bool:
        """Return whether the previous attempt read more pages than this one."""
        previous_pages: int | None = self.kept["pages_read"]
        if previous_pages is not None:
            return (ended.pages_read or 0) < previous_pages
        # Results in Markdown tell only the missing pages.
        previous_failed: int = sum(self.kept["pages_failed"].values())
        return (
            ended.state is State.FAILED
            or sum(ended.pages_failed.values()) > previous_failed
        )


@dataclass(frozen=True, slots=True)
class Place:
    """File or object that requested a job."""

    id: str
    name: str
    """Name of its results below a folder."""
    source: str
    key: str
    """Key of the job that reads its current contents."""
    written: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each file that was written for it, by path."""


def new_run_name(now: float) -> str:
    """Return a unique name for a submission; its results are written below it."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def current_owner() -> str:
    """Return the name of this process as an owner of jobs: host/process."""
    return f"{socket.gethostname()}/{os.getpid()}"


def is_owner_gone(
    owner: str | None, is_running: Callable[[int], bool] | None = None
) -> bool:
    """Return whether the process that was sending a job has ended.

    A process on another machine counts as running, and no owner as ended. `is_running`
    replaces the check of a process id.
    """
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
