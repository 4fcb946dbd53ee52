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
    """Key of the document's content; None if no other call can share its account."""
    request_id: str | None = None
    page: int | None = None


class CallCrashedError(Exception):
    """The process that ran the call ended before it answered."""


class CallKilledError(CallCrashedError):
    """Something else killed the process; the call is not to blame."""


class CallTimeoutError(Exception):
    """The call took too long and its process was ended."""


class CallStalledError(CallTimeoutError):
    """The process stalled; the call is not to blame."""


class DocumentGivenUpError(Exception):
    """Earlier calls for the same document timed out, so this one was not started."""


class PoolBusyError(Exception):
    """No process became free within the waiting time."""


class OutOfTimeError(Exception):
    """The caller's deadline came before the call's result or time limit."""
