"""Search for the fastest execution mode of a model that passes its self-test."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from handler.engine.fallbacks import (
    Announce,
    Check,
    DeviceLostError,
    ExecutionMode,
    Fallback,
    NativeEngineError,
    SelfTestError,
)
from handler.engine.out_of_memory import is_out_of_memory
from handler.errors import ModelLoadError

__all__ = ["FallbackSearch"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass
class FallbackSearch(Generic[T]):
    """State and result of a search over execution modes, the fastest first.

    `recover` releases the memory of a failed attempt, and returns whether the device is
    still usable. `fallbacks` holds the codes of the optimisations given up so far, and
    `passed` the checks that need not be repeated.
    """

    announce: Announce
    recover: Callable[[], bool]
    fallbacks: list[Fallback] = field(default_factory=list)
    passed: set[Check] = field(default_factory=set)
    _check: Check | None = None

    def run(
        self, modes: Sequence[ExecutionMode], build: Callable[[ExecutionMode], T]
    ) -> T:
        """Return the result of `build` for the first mode that does not raise.

        `build` also runs the checks, each within `checking`. After a failure, logs it,
        adds what is given up to `fallbacks`, and skips the modes that use it.
        ModelLoadError and the error of the last mode pass through; DeviceLostError is
        raised if the device is not usable after a failure.
        """
        rest = list(modes)
        while True:
            mode = rest.pop(0)
            check, fallback = None, Fallback.ENGINE_GENERATE
            try:
                return build(mode)
            except (ModelLoadError, DeviceLostError):
                raise
            except Exception as error:
                if not rest:
                    raise
                check, self._check = self._check, None
                fallback = _choose_fallback(error, check, mode)
                rest = _select_remaining_modes(rest, fallback)
                _log_failure(error, check, fallback, mode, rest[0])
            # Outside the except block, so that the exception no longer holds memory.
            if not self.recover():
                self.announce(check)
                raise DeviceLostError(f"after {check or 'the start'} of the {mode}")
            self.announce(None)
            if fallback not in self.fallbacks:
                self.fallbacks.append(fallback)

    @contextmanager
    def checking(self, check: Check) -> Iterator[None]:
        """Announce a check before it begins.

        Unless the body raises, announces the end of the check and adds it to `passed`.
        """
        self._check = check
        self.announce(check)
        yield
        self._check = None
        self.passed.add(check)
        self.announce(None)


def _choose_fallback(
    error: Exception, check: Check | None, mode: ExecutionMode
) -> Fallback:
    """Return what to give up after a failure in a mode.

    This is the optimisation that the check tests, otherwise the mode's attention. After
    an out-of-memory error it is the CUDA graphs, which hold memory, except in the check
    of the operator, which runs before they are recorded.
    """
    if isinstance(error, NativeEngineError):
        return Fallback.ENGINE_GENERATE
    is_wrong = isinstance(error, SelfTestError)
    if mode.cuda_graphs and check is not Check.ATTENTION and is_out_of_memory(error):
        return Fallback.CUDA_GRAPHS_FAILED
    if check is Check.CUDA_GRAPHS:
        if is_wrong:
            return Fallback.CUDA_GRAPHS_MISMATCH
        return Fallback.CUDA_GRAPHS_FAILED
    if check is Check.FORWARD and is_wrong:
        return Fallback.FORWARD_MISMATCH
    if mode.attention == "flash":
        return Fallback.ATTENTION_MISMATCH if is_wrong else Fallback.ATTENTION_FAILED
    return Fallback.ENGINE_GENERATE


def _select_remaining_modes(
    modes: Sequence[ExecutionMode], fallback: Fallback
) -> list[ExecutionMode]:
    """Return the modes that do not use what was given up."""
    if fallback is Fallback.ENGINE_GENERATE:
        return [mode for mode in modes if mode.engine != "native"]
    if fallback in (
        Fallback.ATTENTION_FAILED,
        Fallback.ATTENTION_MISMATCH,
        # The operator may be the cause, so torch's attention is checked next.
        Fallback.FORWARD_MISMATCH,
    ):
        return [mode for mode in modes if mode.attention != "flash"]
    return list(modes)


def _log_failure(
    error: Exception,
    check: Check | None,
    fallback: Fallback,
    mode: ExecutionMode,
    to: ExecutionMode,
) -> None:
    """Log a failed check or build, with the mode that is tried next (`to`)."""
    facts: dict[str, object] = {
        "check": check,
        "fallback": fallback,
        "from": str(mode),
        "to": str(to),
        "how": f"{type(error).__name__}: {error}",
    }
    if isinstance(error, SelfTestError):
        facts |= {
            "case": error.case,
            "error": round(error.actual, 5),
            "allowed_error": error.allowed,
        }
    # The message of a SelfTestError suffices; other exceptions need a traceback.
    cause = None if isinstance(error, SelfTestError) else error
    logger.warning("self-test failed", extra=facts, exc_info=cause)
