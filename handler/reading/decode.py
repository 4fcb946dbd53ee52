"""Decodes in the pool's processes, and says whose fault it is when that fails."""

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
    """Runs decoders for at most `max_seconds`, and never beyond a deadline."""

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
        """Return what the decoder returns; raise the HandlerError it raises.

        Raises UnreadableDocumentError where the decoder uses all its time or crashes,
        as the document is to blame, and OverloadedError where no decoder is free or
        something else killed or stopped it.
        """
        left = math.inf if deadline is None else deadline - self._clock()
        try:
            return self._pool.call_restartable(
                context, left, self._max_seconds, function, *args, **kwargs
            )
        except OutOfTimeError as error:
            raise DeadlineExceededError(
                "the deadline came before this page was decoded"
            ) from error
        except PoolBusyError as error:
            raise OverloadedError("all decoders are busy with other pages") from error
        except (CallKilledError, CallStalledError) as error:
            raise OverloadedError(
                "two decoders in turn were ended or stopped from outside, as happens "
                "where memory is short; try again"
            ) from error
        except CallTimeoutError as error:
            raise UnreadableDocumentError(
                f"decoding took longer than {self._max_seconds:g} s and was given up"
            ) from error
        except DocumentGivenUpError as error:
            raise UnreadableDocumentError(
                f"decoding took longer than {self._max_seconds:g} s twice, and the "
                "whole document was given up"
            ) from error
        except CallCrashedError as error:
            raise UnreadableDocumentError("the decoder crashed on it") from error
