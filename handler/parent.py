"""Ends the worker when TorchServe, which has started it, is gone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

__all__ = ["leave_with_parent"]

POLL_SECONDS = 0.5


def leave_with_parent(
    leave: Callable[[int], object] = os._exit,
    parent: Callable[[], int] = os.getppid,
    sleep: Callable[[float], None] = time.sleep,
) -> threading.Thread:
    """Call `leave(1)` from a thread of its own once this process has another parent.

    A Java that is killed closes the worker's socket, but Python then waits for the
    threads of open requests. The engine and the decoders end with the worker.
    """
    started_by = parent()

    def watch() -> None:
        while parent() == started_by:
            sleep(POLL_SECONDS)
        leave(1)

    thread = threading.Thread(target=watch, name="parent", daemon=True)
    thread.start()
    return thread
