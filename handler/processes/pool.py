"""Pool of child processes for calls that may crash, hang or hold the interpreter lock.

Decoders read hostile files, and parsing HTML in a thread would slow all other threads.
A process whose call crashes or exceeds its time limit is replaced.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from handler.processes.call_watch import PreemptedError, watch_call
from handler.processes.calls import (
    CallContext,
    CallCrashedError,
    CallKilledError,
    CallStalledError,
    CallTimeoutError,
    DocumentGivenUpError,
    OutOfTimeError,
    PoolBusyError,
)
from handler.processes.child import Child, describe_exit
from handler.processes.fair_queue import (
    CallOutcome,
    DocumentUsage,
    FairQueue,
    Priority,
    Turn,
    UsageHistory,
)
from handler.sandbox.calls import (
    MESSAGE_SECONDS,
    InvalidReplyError,
    receive_reply,
    send_call,
    serve,
)
from handler.sandbox.confinement import filter_environment

__all__ = [
    "CallContext",
    "CallCrashedError",
    "CallKilledError",
    "CallStalledError",
    "CallTimeoutError",
    "DocumentGivenUpError",
    "OutOfTimeError",
    "Pool",
    "PoolBusyError",
]

logger = logging.getLogger(__name__)

NICENESS = 10
"""Nice value of processes that run slow documents: a tenth of the usual weight. On two
cores without a GPU, such a page would otherwise take half of the engine's time."""
STALL_SECONDS = 5.0
"""Time after which a process that is not runnable and uses no processor time is
regarded as stalled."""
MAX_LOSSES = 2
"""A call fails once it has lost this many processes."""
SLOW_WAIT_FACTOR = 5
"""A slow document's call waits for a process for this many time limits, others for one:
it has already used processor time, and may still succeed."""

_EXTERNAL_ENDS = frozenset(
    describe_exit(-number)
    for number in (
        signal.SIGKILL,
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
    )
)
"""Ends that have an external cause, such as the kernel's out-of-memory killer."""

P = ParamSpec("P")
R = TypeVar("R")


class Pool:
    """Pool of `size` confined processes, each of which runs one call at a time.

    `memory_bytes` limits the address space of each process; None: no limit. Each
    process imports `modules` before it is confined and can no longer open files, so
    `modules` must contain the modules whose functions will be called. `name` is the
    name of a process in the log.
    """

    def __init__(
        self,
        size: int,
        *,
        memory_bytes: int | None = None,
        modules: Sequence[str] = (),
        name: str = "process",
        stall_seconds: float = STALL_SECONDS,
        message_seconds: float = MESSAGE_SECONDS,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._modules = list(modules)
        self._name = name
        self._stall_seconds = stall_seconds
        self._message_seconds = message_seconds
        self._turns = FairQueue(size)
        self._history = UsageHistory()
        # Take the most recently used process first, because its caches are warm.
        self._idle: queue.LifoQueue[Child] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._is_closed = False
        for _ in range(size):
            self._idle.put(self._start())

    @property
    def num_waiting(self) -> int:
        """Number of calls that wait for a process."""
        return self._turns.num_waiting

    def call(
        self,
        timeout_seconds: float,
        function: Callable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run `function` in another process and return what it returns.

        Waits at most `timeout_seconds` for a free process, and then at most
        `timeout_seconds` for the result. The function runs at most once. Raises the
        HandlerError that the function raises, RuntimeError with the message of any
        other exception, PoolBusyError, CallTimeoutError, CallCrashedError, or WireError
        if the arguments do not have the annotated types.
        """
        return self.call_within(math.inf, timeout_seconds, function, *args, **kwargs)

    def call_within(
        self,
        total_seconds: float,
        timeout_seconds: float,
        function: Callable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a call as `call` does, but raise OutOfTimeError after `total_seconds`.

        They include the time of waiting for a free process.
        """
        end = time.monotonic() + total_seconds
        return self._attempt(
            None, DocumentUsage(), end, timeout_seconds, function, *args, **kwargs
        )

    def call_restartable(
        self,
        context: CallContext,
        total_seconds: float,
        timeout_seconds: float,
        function: Callable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run `call_within` for a function that may be ended and run again.

        A long call is preempted when others need its process, and then waits for
        another turn. A call whose process crashes, is killed or stalls is retried once
        in a fresh process; the second time raises CallCrashedError, CallKilledError or
        CallStalledError. Raises DocumentGivenUpError for a document whose calls used
        all of `timeout_seconds` twice.
        """
        end = time.monotonic() + total_seconds
        usage = self._history.find_usage(context.document)
        num_losses = 0
        while True:
            try:
                return self._attempt(
                    context, usage, end, timeout_seconds, function, *args, **kwargs
                )
            except PreemptedError:
                continue
            except (CallCrashedError, CallStalledError):
                num_losses += 1
                if num_losses == MAX_LOSSES or self._is_closed:
                    raise

    def _attempt(
        self,
        context: CallContext | None,
        usage: DocumentUsage,
        end: float,
        timeout_seconds: float,
        function: Callable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run the call once, as `call_restartable` describes.

        Without a context, it is never preempted. Raises PreemptedError for a call that
        was preempted. A process that is lost or was used for a slow document is
        replaced.
        """
        turn, child = self._take_process(context, usage, timeout_seconds, end)
        outcome = CallOutcome.FINISHED
        try:
            try:
                self._send_call(child, function, args, kwargs)
            except OSError:
                # The process ended while it was idle, so this call did not cause that.
                child = self._replace(child)
                self._send_call(child, function, args, kwargs)
            if turn.level is not Priority.NORMAL:
                _lower_priority(child.pid)
            end_reason = watch_call(
                child, turn, self._turns, timeout_seconds, end, self._stall_seconds
            )
            if end_reason is not None:
                outcome = end_reason.outcome
                self._log_end(context, child, turn, end_reason.value)
                child = self._replace(child)
                raise end_reason.to_error(timeout_seconds)
            error, result = receive_reply(
                child.connection, function, message_seconds=self._message_seconds
            )
            if turn.level is not Priority.NORMAL:
                # A process may lower its priority but not raise it again.
                child = self._replace(child)
        except (EOFError, OSError) as broken:
            description = child.describe_end()
            is_killed = description in _EXTERNAL_ENDS
            if is_killed:
                outcome = CallOutcome.LOST
            if not self._is_closed:
                why = "killed" if is_killed else "crash"
                self._log_end(context, child, turn, why, description)
            child = self._replace(child)
            kind = CallKilledError if is_killed else CallCrashedError
            raise kind(f"the process {description}") from broken
        except InvalidReplyError as invalid:
            self._log_end(context, child, turn, "invalid reply")
            child = self._replace(child)
            raise CallCrashedError(f"the process sent no reply: {invalid}") from invalid
        finally:
            self._idle.put(child)
            self._turns.give_back(turn, outcome)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def _log_end(
        self,
        context: CallContext | None,
        child: Child,
        turn: Turn,
        why: str,
        how: str = "",
    ) -> None:
        """Log that a process ended before its call had a result."""
        context = context or CallContext()
        logger.warning(
            f"{self._name} ended",
            extra={
                "why": why,
                "how": how,
                "seconds": round(time.monotonic() - turn.started_at, 3),
                "request_id": context.request_id,
                "document": context.document,
                "page": context.page,
                "pid": child.pid,
            },
        )

    def close(self) -> None:
        """End every process; running calls and later ones raise CallCrashedError."""
        with self._lock:
            self._is_closed = True
            children = list(self._children)
        for child in children:
            child.kill()

    def _send_call(
        self,
        child: Child,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        seconds = self._message_seconds
        send_call(child.connection, function, args, kwargs, message_seconds=seconds)

    def _take_process(
        self,
        context: CallContext | None,
        usage: DocumentUsage,
        timeout_seconds: float,
        end: float,
    ) -> tuple[Turn, Child]:
        """Wait for a turn and take an idle process.

        Raises DocumentGivenUpError, OutOfTimeError, PoolBusyError, or CallCrashedError
        if the pool is closed.
        """
        if usage.is_given_up:
            raise DocumentGivenUpError
        left = end - time.monotonic()
        if left <= 0:
            # Do not start the call, even if its result might come quickly: the outcome
            # must not depend on chance.
            raise OutOfTimeError
        patience = timeout_seconds
        if usage.level is not Priority.NORMAL:
            patience *= SLOW_WAIT_FACTOR
        turn = self._turns.take(
            usage,
            timeout_seconds,
            min(patience, left),
            can_restart=context is not None,
            can_recover=context is not None and context.page is not None,
        )
        if turn is None:
            if left < patience:
                raise OutOfTimeError
            raise PoolBusyError(f"no process was free for {patience:g} s")
        # Other pages may have timed out while this one waited.
        if self._is_closed or usage.is_given_up:
            self._turns.give_back(turn, CallOutcome.LOST)
            if self._is_closed:
                raise CallCrashedError("the pool is closed")
            raise DocumentGivenUpError
        return turn, self._idle.get_nowait()

    def _start(self) -> Child:
        child = Child(
            serve,
            self._modules,
            self._memory_bytes,
            environ=filter_environment(os.environ),
        )
        with self._lock:
            self._children.add(child)
        return child

    def _replace(self, child: Child) -> Child:
        """End a process and return a new one; if the pool is closed, return the old."""
        with self._lock:
            if self._is_closed:
                return child
            self._children.discard(child)
        child.kill()
        child.close()
        return self._start()


def _lower_priority(pid: int) -> None:
    # If the process has ended, the caller notices that at the pipe.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
