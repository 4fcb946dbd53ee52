"""Child process that runs a Python function and is connected by a pipe.

multiprocessing is not used, because its children import the parent's main module. In
TorchServe's worker, that is the worker itself, with torch. A child of this module
imports only what it runs. It ends when its pipe closes, so that no child survives a
worker that is killed.
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

# Spin count of torch's OpenMP threads, about 20 us, instead of libgomp's default of
# 300,000. A thread that spins while it waits for another thread occupies a core that
# the other thread needs if further processes compete for the cores.
_SPINNING = {"GOMP_SPINCOUNT": "5000"}
_SPIN_VARIABLES = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}


class Child:
    """A process that runs `target(connection, *args)` and then ends.

    `target` is a module-level function and `args` can be pickled. `connection` is the
    parent's end of the pipe. `environ` is the environment of the process. `user` is its
    user id; None: that of the parent. With `has_output`, its output can be read from
    `output`; otherwise it goes to the parent's standard output. The process starts at
    once.
    """

    def __init__(
        self,
        target: Callable[..., None],
        *args: Any,
        environ: Mapping[str, str] = os.environ,
        user: int | None = None,
        has_output: bool = False,
    ) -> None:
        self.connection, child_end = Pipe()
        python_path = [str(_PACKAGE_PARENT), environ.get("PYTHONPATH", "")]
        spinning = {} if _SPIN_VARIABLES & environ.keys() else _SPINNING
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "handler.processes.child",
                    str(child_end.fileno()),
                ],
                pass_fds=[child_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if has_output else None,
                stderr=subprocess.STDOUT if has_output else None,
                text=True,
                errors="replace",
                env={
                    **spinning,
                    **environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, python_path)),
                },
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        finally:
            child_end.close()
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
        """Output of the process; available only with `has_output`."""
        assert self._process.stdout is not None
        return self._process.stdout

    def wait(self) -> int:
        """Wait for the end; return the exit status, or the negative signal number."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill the process and wait for its end; `connection` stays open."""
        self._process.kill()
        self._process.wait()

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Close `connection`, which ends the process, and wait for its end.

        Kills the process if it has not ended after `timeout_seconds`.
        """
        self.connection.close()
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def describe_end(self) -> str:
        """Return a clause on the end of the process, as `describe_exit` does.

        Waits up to 5 s for the end; a process that still runs "closed its pipe".
        """
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return describe_exit(code)


def describe_exit(code: int) -> str:
    """Return a clause such as "ended with status 1" or "was ended by SIGKILL".

    `code` is the exit status, or the negative number of the signal.
    """
    if code < 0:
        names = {signum.value: signum.name for signum in signal.Signals}
        return f"was ended by {names.get(-code, f'signal {-code}')}"
    return f"ended with status {code}"


def _main() -> None:
    """Receive a function and its arguments through the pipe, and call it.

    The command line has the descriptor of the pipe.
    """
    # Ctrl-C in a terminal signals the whole process group; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_to_stdout()
    connection = Connection(int(sys.argv[1]))
    try:
        module, name, args = connection.recv()
        target = getattr(importlib.import_module(module), name)
        target(connection, *args)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent has ended


if __name__ == "__main__":
    _main()
