"""Submitter of documents, which repeats its commands after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.deploy.emulator.conftest import CREDENTIALS
from tests.jobs.cloud import Cloud
from tests.waiting import until

__all__ = ["Command", "KilledError", "Submitter"]

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., dict[str, Any]]
"""Runs a command, and returns its --json output."""
START_SECONDS = 300.0


class KilledError(Exception):
    """The command was killed by the test."""


class Submitter:
    """Thread that repeats a round of commands until all documents are done.

    A round has the commands that a user types, and types again after the terminal was
    closed. `round_of` runs them and returns True if everything is done.
    """

    def __init__(self, cloud: Cloud, round_of: Callable[[Command], bool]) -> None:
        self._cloud = cloud
        self._round_of = round_of
        self._process: subprocess.Popen[bytes] | None = None
        self._may_end = threading.Event()
        self._is_closed = threading.Event()
        self.is_done = False
        """True if the last completed round left nothing to do."""
        self.num_rounds = 0
        self.output: list[str] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Send SIGKILL to the running command."""
        process = until(self._running, START_SECONDS)
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()

    def finish(self, timeout_seconds: float) -> None:
        """Wait until everything is done; raise the error of a command."""
        self._may_end.set()
        self._thread.join(timeout_seconds)
        self.check()
        assert self.is_done, f"not done: {self.output[-5:]}"

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._is_closed.set()
        if (process := self._running()) is not None:
            process.kill()
        self._thread.join()

    def _running(self) -> subprocess.Popen[bytes] | None:
        self.check()
        process = self._process
        return process if process is not None and process.poll() is None else None

    def _run(self) -> None:
        try:
            while not (self.is_done and self._may_end.is_set()):
                self.num_rounds += 1
                try:
                    self.is_done = self._round_of(self._command)
                except KilledError:
                    if self._is_closed.is_set():
                        return
        except BaseException as error:
            self._error = error

    def _command(self, *arguments: str) -> dict[str, Any]:
        """Run a command and return its JSON object, which includes the outcome."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.jobs.command", *arguments, "--json"),
                *("--config", str(self._cloud.config_path)),
                *("--endpoint-url", self._cloud.address),
            ],
            cwd=ROOT,
            env={**os.environ, **CREDENTIALS},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, errors = self._process.communicate()
        status = self._process.returncode
        words = " ".join(arguments[:2])
        self.output.append(f"{words}: {status}\n{errors.decode()[-2000:]}")
        if status == -signal.SIGKILL:
            raise KilledError(words)
        try:
            answer: dict[str, Any] = json.loads(output)
        except ValueError as error:
            raise AssertionError(self.output[-1]) from error
        return answer
