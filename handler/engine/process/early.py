"""An engine process that is started before there is a worker, and waits for one.

TorchServe takes seconds to bring up its worker, and only then could the worker
start an engine. One that whoever starts the server has started already spends them
importing torch and loading the weights; what it has to say is kept until a worker
takes it over. From then on it is that worker's, and ends with it.
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

__all__ = ["TakenOver", "ended_file", "main", "take_over"]

ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.02


def ended_file(address: str) -> Path:
    """Where whoever started the process notes how it ended: it is not our child."""
    return Path(f"{address}.ended")


def main(starter: Connection, address: str, settings: EngineSettings) -> None:
    """Entry point: load, and wait at the socket `address` for a worker.

    Ends when `starter` closes before a worker has come, or the worker's end after.
    """
    pipe = LatePipe(address, settings)
    threading.Thread(target=_leave_with, args=(starter, pipe), daemon=True).start()
    loop.main(pipe, settings, 0)
    # A load that failed: the worker is still to be told why.
    pipe.wait_until_taken()


class LatePipe:
    """The engine's end of a pipe, which holds messages until the worker connects.

    Drops heartbeats instead of queueing them, because they would be outdated.
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
        self._is_taken.wait()

    def send(self, message: object) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.send(message)
            elif not isinstance(message, Heartbeat):
                self._unsent.append(message)

    def recv(self) -> Any:
        self._is_taken.wait()
        assert self._connection is not None
        return self._connection.recv()

    def _accept(self) -> None:
        connection = self._listener.accept()
        # Nobody else is to find it: another worker starts an engine of its own.
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
            os._exit(0)  # a worker that left again
        self._is_taken.set()


def _leave_with(starter: Connection, pipe: LatePipe) -> None:
    with contextlib.suppress(EOFError, OSError):
        starter.recv()
    if not pipe.is_taken:
        os._exit(0)


class TakenOver:
    """The worker's side of an engine process that somebody else has started."""

    def __init__(self, connection: Connection, pid: int, address: str) -> None:
        self.connection = connection
        self._pid = pid
        self._ended = ended_file(address)

    @property
    def pid(self) -> int:
        return self._pid

    def kill(self) -> None:
        """End it now; the pipe stays open on this side."""
        if not self._ended.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._wait(10)

    def close(self) -> None:
        """Close the pipe, which ends the process."""
        self.connection.close()
        self._wait(10)

    def describe_end(self) -> str:
        """How a process that has ended came to its end, for a person."""
        code = self._wait(5)
        return "closed its pipe" if code is None else describe_exit(code)

    def _wait(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # Not there, or not written yet.
            with contextlib.suppress(OSError, ValueError):
                return int(self._ended.read_text())
            time.sleep(POLL_SECONDS)
        return None


def take_over(address: str, settings: EngineSettings) -> TakenOver | None:
    """The process that waits at `address`; None where none does, or of other settings.

    One with other settings has begun to end when this returns.
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
                return TakenOver(connection, pid, address)
    except (EOFError, OSError):
        pass
    connection.close()
    return None
