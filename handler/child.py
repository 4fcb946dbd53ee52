"""Python processes of ours at the far end of a pipe.

Not multiprocessing's: its children import the parent's main module first, and in
TorchServe's worker that is the worker itself, with torch. A child here imports
what it runs and nothing else, and ends when its pipe closes, so that a worker
killed without warning leaves nothing behind.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from handler.logs import log_to_stdout

__all__ = ["Child"]

_PACKAGE_PARENT = Path(__file__).resolve().parent.parent


class Child:
    """A process that runs `target(connection, *args)` and then ends.

    `target` is a module-level function and `args` can be pickled. `connection`
    is this side of the pipe.
    """

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        self.connection, theirs = Pipe()
        search = [str(_PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "handler.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search))},
            )
        finally:
            theirs.close()
        try:
            self.connection.send((target.__module__, target.__qualname__, args))
        except OSError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End it now; the pipe stays open on this side."""
        self._process.kill()
        self._process.wait()

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Close the pipe, which ends the process; kill it where that does not help."""
        self.connection.close()
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """How a process that has ended came to its end, for a person."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        if code < 0:
            names = {number.value: number.name for number in signal.Signals}
            return f"was ended by {names.get(-code, f'signal {-code}')}"
        return f"ended with status {code}"


def _main() -> None:
    # Ctrl-C in a terminal reaches the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_to_stdout()
    connection = Connection(int(sys.argv[1]))
    try:
        module, name, args = connection.recv()
        target = getattr(importlib.import_module(module), name)
        target(connection, *args)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone, and so are we


if __name__ == "__main__":
    _main()
