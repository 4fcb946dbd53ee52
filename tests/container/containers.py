"""Running container, whose requests come from within its own network namespace."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.container.engine import DockerEngine
from tests.server.processes import find_engine_pid
from tests.waiting import until

__all__ = ["ALONE", "STRICT", "DockerContainer"]

# On a busy machine, two torch threads wait for each other.
ALONE = ("--network", "none", "--env", "CHANDRA_CPU_THREADS=1")
STRICT = (
    *(*ALONE, "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--memory", "6g"),
    # Without exec, which is Docker's default for a tmpfs.
    *("--tmpfs", "/tmp:rw,noexec,nosuid,nodev,size=2g,mode=1777"),
)
"""Options of a hardened host, and of SageMaker with network isolation."""

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
LISTEN = "0A"


class DockerContainer:
    """Container that runs `serve`, from its start to its removal."""

    def __init__(self, engine: DockerEngine, image: str, *options: str) -> None:
        self._engine = engine
        self.id = engine("run", "--detach", *options, image, "serve").strip()
        self.pid = int(self._inspect("{{.State.Pid}}"))
        self._threads = ThreadPoolExecutor(48, initializer=self._enter)

    def _enter(self) -> None:
        """Move this thread into the container's network namespace."""
        namespace = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.setns(namespace, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(namespace)

    def run_within(self, function: Callable[[], T]) -> Future[T]:
        """Run a function in a thread in the container's network namespace."""
        return self._threads.submit(function)

    def ping(self) -> int | None:
        """Return the status of /ping; None without an answer."""

        def ask() -> int | None:
            # httpx makes a TLS context for each call, which takes longer than a ping
            # while other threads of the test send large bodies.
            connection = HTTPConnection("127.0.0.1", 8080, timeout=10)
            try:
                connection.request("GET", "/ping")
                return connection.getresponse().status
            except (OSError, HTTPException):
                return None
            finally:
                connection.close()

        return self.run_within(ask).result()

    def get(self, path: str) -> httpx.Response:
        return self.run_within(
            lambda: httpx.get(f"http://127.0.0.1:8080{path}")
        ).result()

    def post(
        self, content: bytes, media_type: str, max_output_tokens: int = 20
    ) -> Future[httpx.Response]:
        return self.run_within(
            lambda: httpx.post(
                "http://127.0.0.1:8080/invocations",
                content=content,
                params={"max_output_tokens": str(max_output_tokens)},
                headers={"Content-Type": media_type},
                timeout=300,
            )
        )

    def wait_until_ready(self, seconds: float = 240) -> None:
        """Wait until /ping is 200; fail if the container ends or the time passes."""
        until(lambda: self.ping() == 200 or not self.is_running, seconds)
        assert self.is_running, self.log[-3:]

    @property
    def is_running(self) -> bool:
        return self._inspect("{{.State.Running}}") == "true"

    @property
    def exit_status(self) -> int:
        return int(self._inspect("{{.State.ExitCode}}"))

    @property
    def was_out_of_memory(self) -> bool:
        return self._inspect("{{.State.OOMKilled}}") == "true"

    @property
    def log(self) -> list[str]:
        return self._engine("logs", self.id).splitlines()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in self.log]
        return [event for event in events if name in (None, event["event"])]

    def read_state(self) -> dict[str, str]:
        """Return the last state that the worker wrote; empty before the first."""
        text = self._engine(
            *("exec", self.id, "sh", "-c", "cat /tmp/chandra-serve-*/state/state"),
            check=False,
        )
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def list_processes(self) -> list[psutil.Process]:
        """Return the processes of the container, process 1 first."""
        first = psutil.Process(self.pid)
        return [first, *first.children(recursive=True)]

    def find_java(self) -> psutil.Process:
        return next(p for p in self.list_processes() if p.name() == "java")

    def find_worker(self) -> psutil.Process:
        return next(
            p
            for p in self.list_processes()
            if "model_service_worker.py" in str(p.cmdline())
        )

    def find_engine(self) -> psutil.Process:
        return psutil.Process(find_engine_pid(self.find_worker().pid))

    def list_listening_ports(self) -> set[tuple[str, int]]:
        """Return the addresses and ports on which the container listens."""
        addresses = set()
        for name, list_family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            lines = Path(f"/proc/{self.pid}/net/{name}").read_text().splitlines()[1:]
            for fields in map(str.split, lines):
                if fields[3] == LISTEN:
                    address, port = fields[1].split(":")
                    words = [address[n : n + 8] for n in range(0, len(address), 8)]
                    packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
                    text = socket.inet_ntop(list_family, packed).removeprefix("::ffff:")
                    addresses.add((text, int(port, 16)))
        return addresses

    def list_changed_files(self) -> list[str]:
        """Return the paths of changed and new files and folders."""
        lines = self._engine("diff", self.id).splitlines()
        return [line.partition(" ")[2] for line in lines]

    def stop(self, seconds: int = 30) -> float:
        """Send SIGTERM, and SIGKILL after `seconds`; return the time it took."""
        started = time.monotonic()
        self._engine("stop", "--time", str(seconds), self.id)
        return time.monotonic() - started

    def stop_in_background(self, seconds: int = 30) -> threading.Thread:
        """Start a thread that stops the container, and return the thread."""
        thread = threading.Thread(target=self.stop, args=(seconds,))
        thread.start()
        return thread

    def wait(self, seconds: float = 60) -> int:
        """Wait until the container has ended, and return its exit status."""
        until(lambda: not self.is_running, seconds)
        return self.exit_status

    def remove(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._engine("rm", "--force", self.id)

    def _inspect(self, form: str) -> str:
        return self._engine("inspect", "--format", form, self.id).strip()
