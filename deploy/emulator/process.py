"""A container without a container: the project's own server, started as SageMaker does.

The only subprocess of this package.
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

__all__ = ["Process", "build_archive", "free_port", "server_folder"]

MARK = "LOCAL_CONTAINER"
"""In the environment of everything that a container consists of."""
INHERITED = (
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
"""Of our own environment: what a program needs to run here, and no credentials."""


def server_folder() -> Path:
    """Where the server lies; raises ConfigError where it is not installed."""
    spec = find_spec("server")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the server is not installed here",
            hint="--server URL uses one that runs, or run it from a checkout",
        )
    return Path(spec.origin).parent.parent


def build_archive(folder: Path) -> None:
    """What an image has built in; built again where a source of it is newer."""
    archive = folder / "model-store" / "chandra.mar"
    sources = (
        folder / "handler" / "service.py",
        folder / "model-store" / "model-config.yaml",
    )
    with contextlib.suppress(OSError):
        if archive.stat().st_mtime > max(path.stat().st_mtime for path in sources):
            return
    done = subprocess.run(
        [sys.executable, "-m", "server", "archive"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ResourceFailedError(
            f"the model archive cannot be built: {' '.join(last)}", hint="make archive"
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One run of a server's program, with everything that it starts."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        folder: Path,
        line: Callable[[str], None],
    ) -> None:
        self._mark = uuid.uuid4().hex
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**inherited, **environ, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # Ctrl-C at the terminal is for us.
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(
                f"{command[0]} cannot be run: {error}",
                hint="--server takes the address of a server that runs",
            ) from error
        assert self._process.stdout is not None
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stdout, line), daemon=True
        )
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def stop(self, timeout_seconds: float) -> None:
        """SIGTERM, and after so many seconds SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_seconds)
        self.clear()

    def clear(self) -> None:
        """End what is left: a container ends with its first process."""
        # As long as one of them may have started another.
        for _ in range(10):
            left = [self.pid] if self.status is None else []
            left += self._family()
            if not left:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self._process.wait()
        self._listener.join(5)

    def _family(self) -> list[int]:
        """Processes with our mark; Java has a session of its own, and its children."""
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if wanted in entry.read_bytes().split(b"\0"):
                    found.append(int(entry.parent.name))
        return found

    @staticmethod
    def _listen(output: IO[str], line: Callable[[str], None]) -> None:
        with output:
            for text in output:
                line(text.rstrip("\n"))
