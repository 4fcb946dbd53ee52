"""Decoding in the processes of a pool, and the errors that it can end with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from handler.errors import (
    DeadlineExceededError,
    OverloadedError,
    UnreadableDocumentError,
)
from handler.processes.pool import (
    CallContext,
    CallCrashedError,
    CallKilledError,
    CallStalledError,
    CallTimeoutError,
    DocumentGivenUpError,
    OutOfTimeError,
    Pool,
    PoolBusyError,
)

__all__ = ["Decoder"]

P = ParamSpec("P")
R = TypeVar("R")


class Decoder:
    """Runs decoding functions in a pool, with a time limit and a deadline.

    `max_seconds` limits each call; the deadline is a time on `clock`.
    """

    def __init__(
        self, pool: Pool, max_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._max_seconds = max_seconds
        self._clock = clock

    def run(
        self,
        context: CallContext,
        deadline: float | None,
        function: Callable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Call `function` in a decoder process; return its result or raise its error.

        Raises UnreadableDocumentError if the call exceeds its time limit or crashes the
        process, because the document causes that. Raises OverloadedError if no process
        is free, or if two processes were killed or stopped from outside. Raises
        DeadlineExceededError if the deadline passes first.
        """
        seconds_left = math.inf if deadline is None else deadline - self._clock()
        try:
            return self._pool.call_restartable(
                context, seconds_left, self._max_seconds, function, *args, **kwargs
            )
        except OutOfTimeError as error:
            raise DeadlineExceededError(
                "the deadline passed before this page was decoded"
            ) from error
        except PoolBusyError as error:
            raise OverloadedError("all decoders are busy with other pages") from error
        except (CallKilledError, CallStalledError) as error:
            raise OverloadedError(
                "the decoder process was killed or stopped twice, for example because "
                "memory is short; try again"
            ) from error
        except CallTimeoutError as error:
            raise UnreadableDocumentError(
                f"decoding took longer than {self._max_seconds:g} s and was cancelled"
            ) from error
        except DocumentGivenUpError as error:
            raise UnreadableDocumentError(
                f"decoding took longer than {self._max_seconds:g} s twice; the rest of "
                "the document was not decoded"
            ) from error
        except CallCrashedError as error:
            raise UnreadableDocumentError(
                "the decoder crashed on this document"
            ) from error
