"""What calls in a pool's processes are for, and how they fail."""

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
    """What a call is for: decides about its turn, and stands in the log."""

    document: str | None = None
    """A name for the content, never the content; None: no other call belongs to it."""
    request_id: str | None = None
    page: int | None = None


class CallCrashedError(Exception):
    """The process that ran the call ended before it answered."""


class CallKilledError(CallCrashedError):
    """The process was ended by somebody else, which says nothing of the call."""


class CallTimeoutError(Exception):
    """The call took too long and its process was ended."""


class CallStalledError(CallTimeoutError):
    """The process stood still, which says nothing of the call."""


class DocumentGivenUpError(Exception):
    """Earlier calls for the same document took too long; this one was not tried."""


class PoolBusyError(Exception):
    """No process became free in time."""


class OutOfTimeError(Exception):
    """The caller's time was up before anything else was."""
