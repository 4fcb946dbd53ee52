"""Processes of the project's own server, started as SageMaker starts a container.

This is the only module of the emulator that starts programs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from deploy.errors import ConfigError, ResourceFailedError

__all__ = ["Process", "build_archive", "find_free_port", "find_server_folder"]

MARK_VARIABLE = "LOCAL_CONTAINER"
"""Environment variable that identifies all processes of a container."""
NUM_KILL_ROUNDS = 10
KILL_PAUSE_SECONDS = 0.05
INHERITED_VARIABLES = (
    "PATH",
    "HOME",
    "JAVA_HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "TMPDIR",
    "TEMP",
    "TMP",
    "VIRTUAL_ENV",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CHANDRA_CPU_THREADS",
)
"""Variables of the emulator's environment that a container inherits.

They are what a program needs to run on this machine; none of them are credentials.
"""


def find_server_folder() -> Path:
    """Return the folder that contains the server package.

    Raises ConfigError if the server is not installed.
    """
    spec = find_spec("server")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the server is not installed",
            hint="use a running server with --server URL, or run from a checkout",
        )
    return Path(spec.origin).parent.parent


def build_archive(folder: Path) -> None:
    """Build the model archive in `folder`, unless it is newer than its sources.

    Raises ResourceFailedError if the build fails.
    """
    archive = folder / "model-store" / "chandra.mar"
    sources = (
        folder / "handler" / "service.py",
        folder / "model-store" / "model-config.yaml",
    )
    with contextlib.suppress(OSError):
        if archive.stat().st_mtime > max(path.stat().st_mtime for path in sources):
            return
    result = subprocess.run(
        [sys.executable, "-m", "server", "archive"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        last = (result.stderr or result.stdout).strip().splitlines()[-1:]
        raise ResourceFailedError(
            f"cannot build the model archive: {' '.join(last)}", hint="make archive"
        )


def find_free_port() -> int:
    """Return a TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """Running server program, with all processes that it starts."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        folder: Path,
        on_line: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start `command`; `on_line` is called with each line of its output.

        `sleep` makes the pauses between the rounds in which processes are killed.
        Raises ConfigError if the program cannot be started.
        """
        self._sleep = sleep
        self._mark = uuid.uuid4().hex
        inherited = {
            name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ
        }
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**inherited, **environ, MARK_VARIABLE: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # Ctrl-C in the terminal must reach the emulator alone.
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(
                f"cannot run {command[0]}: {error}",
                hint="use a running server with --server URL",
            ) from error
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read_output, args=(self._process.stdout, on_line), daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Exit status of the program; None while it runs."""
        return self._process.poll()

    def stop(self, timeout_seconds: float) -> None:
        """Send SIGTERM to the program, and wait at most `timeout_seconds` for its end.

        All processes that remain are killed.
        """
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_seconds)
        self.kill_remaining()

    def kill_remaining(self) -> None:
        """Kill all remaining processes, as a container ends with its first process.

        Waits until the program has ended and its output was read.
        """
        # Repeat, because a process may have started another one before it was killed.
        for _ in range(NUM_KILL_ROUNDS):
            pids = [self.pid] if self.exit_status is None else []
            pids += self._find_processes()
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._sleep(KILL_PAUSE_SECONDS)
        self._process.wait()
        self._reader.join(5)

    def _find_processes(self) -> list[int]:
        """Return the process ids of this container, found by an environment variable.

        A process group does not suffice: Java starts its own session.
        """
        mark = f"{MARK_VARIABLE}={self._mark}".encode()
        pids = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in entry.read_bytes().split(b"\0"):
                    pids.append(int(entry.parent.name))
        return pids

    @staticmethod
    def _read_output(output: IO[str], on_line: Callable[[str], None]) -> None:
        with output:
            for text in output:
                on_line(text.rstrip("\n"))
