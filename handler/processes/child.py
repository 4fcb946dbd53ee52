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
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any

from handler.logs import log_to_stdout

__all__ = ["Child", "describe_exit"]

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_MODULE = "handler.processes.child"

# How long a thread of torch's turns round before it sleeps, waiting for another: some
# 20 us, where libgomp has 300,000. One that turns keeps the other from getting a core
# as soon as somebody else wants the cores too.
_SPINNING = {"GOMP_SPINCOUNT": "5000"}
_SAID_OTHERWISE = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}


class Child:
    """A process that runs `target(connection, *args)` and then ends.

    `target` is a module-level function and `args` can be pickled. `connection`
    is this side of the pipe. `environ` is what it sees, otherwise what we do; `user`
    whom it runs as, otherwise whoever we are. With `has_output`, what it prints comes
    from `output`, and otherwise goes where ours does.
    """

    def __init__(
        self,
        target: Callable[..., None],
        *args: Any,
        environ: Mapping[str, str] = os.environ,
        user: int | None = None,
        has_output: bool = False,
    ) -> None:
        self.connection, theirs = Pipe()
        search = [str(_PACKAGE_PARENT), environ.get("PYTHONPATH", "")]
        spinning = {} if _SAID_OTHERWISE & environ.keys() else _SPINNING
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "handler.processes.child",
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if has_output else None,
                stderr=subprocess.STDOUT if has_output else None,
                text=True,
                errors="replace",
                env={
                    **spinning,
                    **environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, search)),
                },
                user=user,
                group=user,
                extra_groups=None if user is None else [],
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

    @property
    def output(self) -> IO[str]:
        """What it prints; only with `has_output`."""
        assert self._process.stdout is not None
        return self._process.stdout

    def wait(self) -> int:
        """Wait until it has ended; its status, or the signal's number below zero."""
        return self._process.wait()

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

    def describe_end(self) -> str:
        """How a process that has ended came to its end, for a person."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return describe_exit(code)


def describe_exit(code: int) -> str:
    """A status, or a signal's number below zero, for a person."""
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
