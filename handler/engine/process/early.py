"""Engine process that is started before its worker and waits for it.

TorchServe needs seconds to start its worker, which could only then start an engine. The
program that starts the server therefore starts an engine process first, which imports
torch and loads the weights meanwhile. Its messages are kept until the worker takes the
process over. From then on it belongs to that worker and ends with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from handler.engine.process import loop
from handler.engine.process.messages import Heartbeat
from handler.processes.child import describe_exit
from handler.settings import EngineSettings

__all__ = ["EarlyChild", "exit_status_path", "main", "take_over"]

ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.02


def exit_status_path(address: str) -> Path:
    """Return the path of the file for the exit status of the process.

    The program that started the process writes it. The worker cannot wait for the
    process, because it is not its parent.
    """
    return Path(f"{address}.ended")


def main(starter: Connection, address: str, settings: EngineSettings) -> None:
    """Load the engine, and wait for a worker at the socket `address`; the entry point.

    The process ends when `starter` closes before a worker has connected, and later when
    the worker closes its end.
    """
    pipe = BufferedPipe(address, settings)
    threading.Thread(
        target=_exit_if_starter_ends, args=(starter, pipe), daemon=True
    ).start()
    loop.main(pipe, settings, 0)
    # The load failed. The worker must still receive the reason.
    pipe.wait_until_taken()


class BufferedPipe:
    """Engine's end of a pipe, which keeps messages until the worker connects.

    It drops heartbeats instead, because they would be outdated.
    """

    def __init__(self, address: str, settings: EngineSettings) -> None:
        self._listener = Listener(address, "AF_UNIX")
        self._settings = settings
        self._connection: Connection | None = None
        self._unsent: list[object] = []
        self._lock = threading.Lock()
        self._is_taken = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def is_taken(self) -> bool:
        return self._is_taken.is_set()

    def wait_until_taken(self) -> None:
        """Wait until a worker has connected and received the messages."""
        self._is_taken.wait()

    def send(self, message: object) -> None:
        """Send a message. Until a worker connects, keep it, or drop a heartbeat."""
        with self._lock:
            if self._connection is not None:
                self._connection.send(message)
            elif not isinstance(message, Heartbeat):
                self._unsent.append(message)

    def recv(self) -> Any:
        """Wait until a worker has connected, and return its next message."""
        self._is_taken.wait()
        assert self._connection is not None
        return self._connection.recv()

    def _accept(self) -> None:
        """Give the pipe to the first worker, and send it the messages kept so far.

        If that worker has other settings or disconnects, the process exits.
        """
        connection = self._listener.accept()
        # Close the socket, so that another worker starts an engine of its own.
        self._listener.close()
        try:
            if connection.recv() != self._settings:
                connection.send(None)
                os._exit(0)
            with self._lock:
                connection.send(os.getpid())
                for message in self._unsent:
                    connection.send(message)
                self._connection = connection
        except (EOFError, OSError):
            os._exit(0)  # The worker has disconnected again.
        self._is_taken.set()


def _exit_if_starter_ends(starter: Connection, pipe: BufferedPipe) -> None:
    """Exit when the starter closes its pipe, unless a worker has connected."""
    with contextlib.suppress(EOFError, OSError):
        starter.recv()
    if not pipe.is_taken:
        os._exit(0)


class EarlyChild:
    """Worker's handle of an engine process that was started before it."""

    def __init__(self, connection: Connection, pid: int, address: str) -> None:
        self.connection = connection
        self._pid = pid
        self._exit_status_path = exit_status_path(address)

    @property
    def pid(self) -> int:
        return self._pid

    def kill(self) -> None:
        """Kill the process and wait up to 10 s for its end; the pipe stays open."""
        if not self._exit_status_path.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._wait_for_exit_status(10)

    def close(self) -> None:
        """Close the pipe, which ends the process, and wait up to 10 s for its end."""
        self.connection.close()
        self._wait_for_exit_status(10)

    def describe_end(self) -> str:
        """Describe how the process ended, for a log line or an error message.

        Waits up to 5 s for its exit status.
        """
        code = self._wait_for_exit_status(5)
        return "closed its pipe" if code is None else describe_exit(code)

    def _wait_for_exit_status(self, seconds: float) -> int | None:
        """Return the exit status; None if it is not known after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # The file does not exist yet, or its content is not written yet.
            with contextlib.suppress(OSError, ValueError):
                return int(self._exit_status_path.read_text())
            time.sleep(POLL_SECONDS)
        return None


def take_over(address: str, settings: EngineSettings) -> EarlyChild | None:
    """Take over the process that waits at the socket `address`.

    Returns None if no process waits there, or if it does not answer in time. A process
    with other settings ends by itself, and None is returned.
    """
    try:
        connection = Client(address, "AF_UNIX")
    except OSError:
        return None
    try:
        connection.send(settings)
        if connection.poll(ANSWER_SECONDS):
            pid = connection.recv()
            if pid is not None:
                return EarlyChild(connection, pid, address)
    except (EOFError, OSError):
        pass
    connection.close()
    return None
