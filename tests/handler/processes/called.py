"""Functions that tests call in confined processes, which import this module first."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from handler.errors import UnreadableDocumentError
from handler.processes.pool import CallCrashedError, Pool
from handler.sandbox.wire import Descriptor

SECONDS = 60.0
"""Time limit that no call reaches."""


class FunctionHoldingError(Exception):
    """Error that is not a HandlerError and cannot be pickled."""

    def __init__(self) -> None:
        super().__init__(lambda: None)


def add(left: int, right: int, *, third: int = 0) -> int:
    return left + right + third


def raise_unreadable() -> None:
    raise UnreadableDocumentError("page 3 ends early")


def raise_other_error() -> None:
    raise FunctionHoldingError


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def signal_myself(number: int) -> None:
    os.kill(os.getpid(), number)


def signal_myself_once(number: int, token: Descriptor) -> str:
    """Send a signal to this process, unless an earlier call took the token."""
    if take_token(token):
        os.kill(os.getpid(), number)
    return "done"


def keep_core_busy(seconds: float = 600) -> None:
    """Use processor time for `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def keep_core_busy_once(token: Descriptor) -> str:
    """Keep a core busy for minutes, unless an earlier call took the token."""
    if take_token(token):
        keep_core_busy()
    return "done"


def get_niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def take_token(token: Descriptor) -> bool:
    """Take the token out of its pipe; False if it was taken before."""
    try:
        return os.read(token, 1) != b""
    except BlockingIOError:
        return False


class Token:
    """Byte in a pipe that only the first call gets."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        os.set_blocking(reading, False)
        os.write(self._writing, b".")
        self.descriptor = Descriptor(reading)

    @property
    def is_taken(self) -> bool:
        return not select.select([self.descriptor], [], [], 0)[0]

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._writing)


def exit_with_status(status: int) -> None:
    sys.exit(status)


def allocate(num_bytes: int) -> int:
    return len(bytearray(num_bytes))


def wait_at(arrived: Descriptor, gate: Descriptor) -> bool:
    """Write a byte to `arrived`, then wait until the other end of `gate` is closed."""
    os.write(arrived, b".")
    return os.read(gate, 1) == b""


@contextmanager
def keep_process_busy(
    pool: Pool, on_error: Callable[[Exception], None] | None = None
) -> Iterator[None]:
    """Keep a process of the pool busy while the context is active.

    If the process ends meanwhile, `on_error` is called with the CallCrashedError; it is
    raised in a thread by default.
    """
    arrived, arrival = os.pipe()
    gate, opener = os.pipe()

    def hold() -> None:
        try:
            pool.call(SECONDS, wait_at, Descriptor(arrival), Descriptor(gate))
        except CallCrashedError as error:
            if on_error is None:
                raise
            on_error(error)

    holder = Thread(target=hold)
    holder.start()
    try:
        os.read(arrived, 1)
        yield
    finally:
        os.close(opener)
        holder.join()
        for descriptor in (arrived, arrival, gate):
            os.close(descriptor)
