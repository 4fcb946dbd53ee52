"""TorchServe as a child process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from server.archive import MODEL_NAME, ROOT, read_handler_table
from server.early_engine import SOCKET_VARIABLE, start_early_engine
from server.folders import LockedFolder, remove_leftovers
from server.guard import Guard
from server.java import build_command, find_java_home
from server.log_reader import ServerLogReader
from server.state import SHARED_MEMORY, StateFolder
from server.status import count_open_requests, list_workers, ping

__all__ = ["ServerFailedError", "TorchServe", "read_properties"]

WriteLine = Callable[[str], None]

SCRATCH_PREFIX = "chandra-serve-"
LONGEST_SOCKET = ".ts.sock.65535"
"""Longest name of a worker's socket."""
MAX_SOCKET_PATH_BYTES = 107
"""Longest path of a socket on Linux; see unix(7)."""
OUT_OF_MEMORY = 3
"""Exit status of Java with -XX:+ExitOnOutOfMemoryError."""


class ServerFailedError(Exception):
    """TorchServe has ended, or cannot become ready; the message gives the reason."""


def read_properties(path: Path) -> dict[str, str]:
    """Read the keys and values of a config.properties."""
    return _parse_properties(path.read_text())


def _parse_properties(text: str) -> dict[str, str]:
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


class TorchServe:
    """A running TorchServe with a temporary directory of its own.

    `overrides` replace keys of config.properties. `environ` are the environment
    variables of the server and the handler. `write_line` gets each line that the server
    prints. `plugin` is the folder with the jar of frontend/; without it, TorchServe's
    own /ping says Healthy before the model is loaded. `user` is the server's user id;
    None keeps the current user. The processes' state lies in `shared_memory` if that is
    usable, so that /ping and the drain work when the temporary directory is full.
    `main_class` replaces Java's main class; see build_command.

    All processes end within seconds when this process is killed.
    """

    def __init__(
        self,
        *,
        config: Path = ROOT / "config.properties",
        overrides: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        write_line: WriteLine = lambda text: None,
        plugin: Path | None = None,
        user: int | None = None,
        shared_memory: Path = SHARED_MEMORY,
        main_class: str | None = None,
    ) -> None:
        self.plugin = plugin
        self._main_class = main_class
        self._write_line = write_line
        self._log_reader = ServerLogReader()
        with contextlib.ExitStack() as undo:
            self._start(config, overrides or {}, environ, user, shared_memory, undo)
            self._undo = undo.pop_all()

    def _start(
        self,
        config: Path,
        overrides: Mapping[str, str],
        environ: Mapping[str, str] | None,
        user: int | None,
        shared_memory: Path,
        undo: contextlib.ExitStack,
    ) -> None:
        """Start all parts, and add to `undo` the callback that ends or removes each."""
        environ = os.environ if environ is None else environ
        temporary = Path(tempfile.gettempdir())
        remove_leftovers(SCRATCH_PREFIX, temporary)
        scratch = LockedFolder(SCRATCH_PREFIX, temporary)
        undo.callback(scratch.close)
        self.scratch = scratch.path
        if len(os.fsencode(self.scratch / LONGEST_SOCKET)) > MAX_SOCKET_PATH_BYTES:
            raise ServerFailedError(
                f"the path of {temporary} is too long for the workers' sockets; "
                "set TMPDIR to a shorter one"
            )
        self._state = StateFolder(self.scratch, user, shared_memory)
        undo.callback(self._state.close)
        # The state may lie elsewhere; the link helps a developer to find it.
        (self.scratch / "state").symlink_to(self._state.path)
        self.properties = read_properties(config) | dict(overrides)
        for key in ("model_store", "metrics_config"):
            if key in self.properties:
                self.properties[key] = str(ROOT / self.properties[key])
        if self.plugin is not None:
            self.properties["plugins_path"] = str(self.plugin)
            self.properties["chandra_state_dir"] = str(self._state.path)
        rendered = self.scratch / "config.properties"
        rendered.write_text("".join(f"{k}={v}\n" for k, v in self.properties.items()))
        if user is not None:
            scratch.give_to(user)
        environ = self._build_environment(environ)
        archive = Path(self.properties["model_store"], self.properties["load_models"])
        # Start the engine first: it loads the model while Java starts.
        self._engine = start_early_engine(
            read_handler_table(archive), environ, self._write_line, user
        )
        if self._engine is not None:
            undo.callback(self._engine.close)
        self._guard = Guard(user)
        undo.callback(self._guard.close)
        if self._engine is not None:
            self._guard.watch_process(self._engine.pid)
        for folder in (self.scratch, self._state.path):
            self._guard.watch_folder(folder)
        java_home = find_java_home(environ)
        self._process = subprocess.Popen(
            build_command(
                java_home,
                rendered,
                self.properties,
                self.scratch,
                self.plugin,
                self._main_class,
            ),
            cwd=self.scratch,
            env={**environ, "JAVA_HOME": str(java_home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C must reach this process only, which stops the server in order.
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        self._guard.watch_session(self._process.pid)
        assert self._process.stdout is not None
        self._listener = threading.Thread(
            target=self._forward_output, args=(self._process.stdout,), daemon=True
        )
        self._listener.start()
        undo.callback(self._end_java)

    def _build_environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        scratch = str(self.scratch)
        own = {
            # TorchServe puts its sockets and the unpacked archive there.
            "TEMP": scratch,
            "TMPDIR": scratch,
            "LOG_LOCATION": scratch,
            "METRICS_LOCATION": scratch,
            "CHANDRA_STATE_DIR": str(self._state.path),
            # A file beside the socket records that the engine has ended.
            SOCKET_VARIABLE: str(self._state.path / "engine"),
        }
        # Without this, Python writes its output only when a buffer is full.
        return {**environ, **own, "PYTHONUNBUFFERED": "1"}

    def __enter__(self) -> TorchServe:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """URL of the inference API, without a path."""
        return self.properties["inference_address"]

    @property
    def management_address(self) -> str:
        """URL of the management API, without a path."""
        return self.properties["management_address"]

    @property
    def metrics_address(self) -> str:
        """URL of the metrics API, without a path."""
        return self.properties["metrics_address"]

    @property
    def predictions_url(self) -> str:
        """URL to which documents are posted."""
        return f"{self.address}/predictions/{MODEL_NAME}"

    @property
    def pid(self) -> int:
        """Process id of Java."""
        return self._process.pid

    @property
    def own_pids(self) -> set[int]:
        """Ids of the child processes that this object waits for."""
        engine = set() if self._engine is None else {self._engine.pid}
        return {self._process.pid, self._guard.pid} | engine

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait until the server has ended, and return its exit status.

        Raise subprocess.TimeoutExpired if the timeout passes first.
        """
        return self._process.wait(timeout_seconds)

    def wait_until_ready(self, timeout_seconds: float = 1800) -> None:
        """Wait until the server can read pages.

        Raise ServerFailedError if the model cannot be loaded, if the server ends, or if
        the timeout passes first.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self.failure is not None:
                raise ServerFailedError(self.failure)
            if not self.is_running:
                raise ServerFailedError(self.describe_exit())
            if self.is_ready():
                return
            time.sleep(0.1)
        raise ServerFailedError(
            f"the model was not loaded within {timeout_seconds:g} s"
        )

    @property
    def failure(self) -> str | None:
        """Reason why the model cannot be loaded; None while it may still load."""
        return self._log_reader.failure

    def describe_exit(self) -> str:
        """Return a sentence for the user on how the server has ended, and why.

        Raise subprocess.TimeoutExpired if it still runs after 5 s.
        """
        code = self._process.wait(5)
        if code == OUT_OF_MEMORY:
            how = "ran out of heap memory; raise -Xmx in vmargs"
        elif code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            how = f"ended with status {code}"
        self._listener.join(5)
        error = self._log_reader.last_error
        why = f": {error}" if error else ""
        return f"TorchServe {how}{why}"

    def is_ready(self) -> bool:
        """Return True if the server can read a page now.

        TorchServe's own /ping says Healthy too early. The management API shows whether
        the worker is ready, and the plugin's /ping whether the engine is.
        """
        return self._is_worker_ready() and (self.plugin is None or self.ping() == 200)

    def ping(self) -> int | None:
        """Return the HTTP status of /ping; None if the server does not answer."""
        return ping(self.address)

    def count_open_requests(self) -> int:
        """Return how many requests are open, as the plugin counts them.

        Return 0 if the server does not answer, or runs without the plugin.
        """
        return count_open_requests(self.address)

    def read_state(self) -> dict[str, str]:
        """Return the last state that the worker wrote; empty before the first."""
        try:
            return _parse_properties(self._state.read_state())
        except OSError:
            return {}

    def drain(self, seconds: float) -> None:
        """Tell the server to refuse new requests and answer the open ones in `seconds`.

        Return at once. Raise OSError if the message cannot be written.
        """
        self._state.drain(seconds)

    def _is_worker_ready(self) -> bool:
        try:
            workers = list_workers(self.management_address)
        except (OSError, ValueError):
            return False
        return bool(workers) and all(
            worker["status"] == "READY" and self._belongs_to_server(worker["pid"])
            for worker in workers
        )

    def _belongs_to_server(self, pid: int) -> bool:
        """Return True if a process belongs to this server.

        Another server may have taken the same ports.
        """
        try:
            return os.getsid(pid) == self._process.pid
        except ProcessLookupError:
            return False

    def read_engine_pids(self) -> list[int]:
        """Return the ids of the engine processes in the worker's last state."""
        return [int(pid) for pid in self.read_state().get("engines", "").split()]

    def query_worker_pid(self) -> int:
        """Return the id of the worker process, from the management API.

        Raise OSError, ValueError or IndexError if the API names no worker.
        """
        return int(list_workers(self.management_address)[0]["pid"])

    def stop(self, timeout_seconds: float = 20) -> None:
        """End the server with all its processes, and remove its temporary files.

        Java gets SIGTERM, and SIGKILL once the timeout has passed.
        """
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_seconds)
        self._undo.close()

    def _end_java(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            # Java leads a session of its own, so this ends its remaining children.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join(20)

    def _forward_output(self, output: IO[str]) -> None:
        with output:
            for text in output:
                text = text.rstrip("\n")
                with contextlib.suppress(OSError):  # the reader may have ended
                    self._write_line(text)
                self._log_reader.read_line(text)
