"""Submitter of documents: a sequence of commands, repeated after each kill."""

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

from tests.deploy.emulator.conftest import CREDENTIAL_VARIABLES
from tests.jobs.cloud import Cloud
from tests.waiting import until

__all__ = ["Command", "KilledError", "Submitter"]

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., dict[str, Any]]
"""Runs a command, and returns the object that it printed with --json."""
START_SECONDS = 300.0


class KilledError(Exception):
    """A command ended with SIGKILL, which only the tests send."""


class Submitter:
    """Thread that runs a round of commands repeatedly, until all documents are done.

    A round consists of the commands that a user types to have documents read, and types
    again after the terminal was closed. `run_round` runs them with the given Command,
    and returns True if all documents are done.
    """

    def __init__(self, cloud: Cloud, run_round: Callable[[Command], bool]) -> None:
        self._cloud = cloud
        self._run_round = run_round
        self._process: subprocess.Popen[bytes] | None = None
        self._may_end = threading.Event()
        self._is_closed = threading.Event()
        self.is_done = False
        """True if the last complete round left nothing to do."""
        self.num_rounds = 0
        self.outputs: list[str] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Send SIGKILL to the running command; wait for one if there is none."""
        process = until(self._find_running, START_SECONDS)
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()

    def finish(self, timeout_seconds: float) -> None:
        """Wait until all documents are done; raise the error of the thread, if any.

        Raise AssertionError if they are not done after the timeout.
        """
        self._may_end.set()
        self._thread.join(timeout_seconds)
        self.check()
        assert self.is_done, f"not done: {self.outputs[-5:]}"

    def check(self) -> None:
        """Raise the error of the thread, if there is one."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Kill the running command, and end the thread."""
        self._is_closed.set()
        if (process := self._find_running()) is not None:
            process.kill()
        self._thread.join()

    def _find_running(self) -> subprocess.Popen[bytes] | None:
        self.check()
        process = self._process
        return process if process is not None and process.poll() is None else None

    def _run(self) -> None:
        try:
            while not (self.is_done and self._may_end.is_set()):
                self.num_rounds += 1
                try:
                    self.is_done = self._run_round(self._command)
                except KilledError:
                    if self._is_closed.is_set():
                        return
        except BaseException as error:
            self._error = error

    def _command(self, *arguments: str) -> dict[str, Any]:
        """Run a command, and return its JSON object.

        The exit status is ignored, because the object contains the same information.
        Raises KilledError.
        """
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.jobs.command", *arguments, "--json"),
                *("--config", str(self._cloud.config_path)),
                *("--endpoint-url", self._cloud.address),
            ],
            cwd=ROOT,
            env={**os.environ, **CREDENTIAL_VARIABLES},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, errors = self._process.communicate()
        status = self._process.returncode
        name = " ".join(arguments[:2])
        self.outputs.append(f"{name}: {status}\n{errors.decode()[-2000:]}")
        if status == -signal.SIGKILL:
            raise KilledError(name)
        try:
            answer: dict[str, Any] = json.loads(output)
        except ValueError as error:
            raise AssertionError(self.outputs[-1]) from error
        return answer
