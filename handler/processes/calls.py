"""Context and errors of calls that run in a pool's processes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CallContext",
    "CallCrashedError",
    "CallKilledError",
    "CallStalledError",
    "CallTimeoutError",
    "DocumentGivenUpError",
    "OutOfTimeError",
    "PoolBusyError",
]


@dataclass(frozen=True, slots=True)
class CallContext:
    """The document, request and page of a call, for scheduling and for the log."""

    document: str | None = None
    """Key of the document; calls with the same key belong to one document. None: no
    key."""
    request_id: str | None = None
    page: int | None = None


class CallCrashedError(Exception):
    """The process that ran the call ended before it returned a result."""


class CallKilledError(CallCrashedError):
    """The process was killed from outside, so the call did not cause its end."""


class CallTimeoutError(Exception):
    """The call took too long and its process was ended."""


class CallStalledError(CallTimeoutError):
    """The process was stopped or blocked from outside, not by the call."""


class DocumentGivenUpError(Exception):
    """Earlier calls for the same document timed out, so this one was not started."""


class PoolBusyError(Exception):
    """No process became free within the waiting time."""


class OutOfTimeError(Exception):
    """The caller's deadline passed before the call's result or time limit."""
