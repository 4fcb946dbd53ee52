"""Watch thread that ends the worker when TorchServe, its parent process, has ended."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

__all__ = ["exit_with_parent"]

POLL_SECONDS = 0.5


def exit_with_parent(
    exit_process: Callable[[int], object] = os._exit,
    parent: Callable[[], int] = os.getppid,
    sleep: Callable[[float], None] = time.sleep,
) -> threading.Thread:
    """Start and return a thread that ends this process once its parent has ended.

    It checks every half second, and then calls `exit_process(1)`.

    When Java is killed, the worker's socket closes, but Python would wait for the
    threads of open requests. The engine and the decoders end with the worker.
    """
    parent_id = parent()

    def watch() -> None:
        while parent() == parent_id:
            sleep(POLL_SECONDS)
        exit_process(1)

    thread = threading.Thread(target=watch, name="parent", daemon=True)
    thread.start()
    return thread
