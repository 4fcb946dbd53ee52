"""A few child processes for work that may crash, hang or hold the interpreter.

Decoders meet hostile files, and HTML parsing in a thread would slow everything
beside it. A call that ends badly costs its own process, which is replaced.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from handler.child import Child
from handler.sandbox.calls import (
    InvalidReplyError,
    receive_reply,
    send_call,
    serve,
)
from handler.sandbox.confinement import environment_from

__all__ = [
    "CallCrashedError",
    "CallTimeoutError",
    "OutOfTimeError",
    "Pool",
    "PoolBusyError",
]

P = ParamSpec("P")
R = TypeVar("R")


class CallCrashedError(Exception):
    """The process that ran the call ended before it answered."""


class CallTimeoutError(Exception):
    """The call took too long and its process was ended."""


class PoolBusyError(Exception):
    """No process became free in time."""


class OutOfTimeError(Exception):
    """The caller's time was up before anything else was."""


class Pool:
    """`size` confined processes, each running one call at a time.

    `memory_bytes` bounds the address space of each; None leaves it unbounded. Each
    imports `modules` before it gives up its rights, one of them that of opening
    files, so name the modules whose functions will be called.
    """

    def __init__(
        self,
        size: int,
        *,
        memory_bytes: int | None = None,
        modules: Sequence[str] = (),
    ) -> None:
        self._memory_bytes = memory_bytes
        self._modules = list(modules)
        # The most recently used first: it is warm, the others may sleep.
        self._idle: queue.LifoQueue[Child] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._is_closed = False
        for _ in range(size):
            self._idle.put(self._start())

    def call(
        self,
        timeout_seconds: float,
        function: Callable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run `function` in another process and return what it returns.

        Waits at most `timeout_seconds` for a free process, and then as long again
        for the result. Raises the HandlerError that the function raises,
        RuntimeError with the words of any other, PoolBusyError,
        CallTimeoutError, CallCrashedError, or WireError where the arguments are not
        of the annotated types.
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
        """`call`, but for no longer than `total_seconds`: OutOfTimeError then."""
        end = time.monotonic() + total_seconds
        child = self._take(timeout_seconds, end)
        try:
            try:
                send_call(child.connection, function, args, kwargs)
            except OSError:
                # It was ended while it idled, which is not this call's fault.
                child = self._replace(child)
                send_call(child.connection, function, args, kwargs)
            left = end - time.monotonic()
            if not child.connection.poll(max(0.0, min(timeout_seconds, left))):
                child = self._replace(child)
                if left < timeout_seconds:
                    raise OutOfTimeError
                raise CallTimeoutError(f"no result within {timeout_seconds:g} s")
            error, result = receive_reply(child.connection, function)
        except (EOFError, OSError) as broken:
            words = child.last_words()
            child = self._replace(child)
            raise CallCrashedError(f"the process {words}") from broken
        except InvalidReplyError as invalid:
            child = self._replace(child)
            raise CallCrashedError(f"the process sent no reply: {invalid}") from invalid
        finally:
            self._idle.put(child)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """End every process; calls still running end with CallCrashedError."""
        with self._lock:
            self._is_closed = True
            children = list(self._children)
        for child in children:
            child.kill()

    def _take(self, timeout_seconds: float, end: float) -> Child:
        left = end - time.monotonic()
        if left <= 0:
            # A result that happens to come at once would be an answer now and then.
            raise OutOfTimeError
        try:
            child = self._idle.get(timeout=max(0.0, min(timeout_seconds, left)))
        except queue.Empty:
            if left < timeout_seconds:
                raise OutOfTimeError from None
            raise PoolBusyError(
                f"no process was free for {timeout_seconds:g} s"
            ) from None
        if self._is_closed:
            self._idle.put(child)
            raise CallCrashedError("the pool is closed")
        return child

    def _start(self) -> Child:
        child = Child(
            serve,
            self._modules,
            self._memory_bytes,
            environ=environment_from(os.environ),
        )
        with self._lock:
            self._children.add(child)
        return child

    def _replace(self, child: Child) -> Child:
        with self._lock:
            if self._is_closed:
                return child
            self._children.discard(child)
        child.kill()
        child.close()
        return self._start()
