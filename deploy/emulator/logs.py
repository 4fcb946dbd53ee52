"""Log lines: to standard output, and to CloudWatch Logs of the backend."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.emulator.backend import Backend
from deploy.errors import AlreadyExistsError, DeployError

__all__ = ["Logs", "Stream"]

EVERY_SECONDS = 0.5
MAX_EVENTS = 1000
MAX_CHARACTERS = 60_000
"""Of a line; four bytes each at most, and CloudWatch takes 256 KB."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One log stream of a group."""

    region: str
    group: str
    name: str

    @property
    def data_log(self) -> Stream:
        """The one that SageMaker itself writes, beside the container's."""
        return Stream(self.region, self.group, f"{self.name}/data-log")


class Logs:
    """Written from any thread; sent twice a second by one of its own."""

    def __init__(self, say: Callable[[str], None], backend: Backend) -> None:
        self._say = say
        self._backend = backend
        self._lock = threading.Lock()
        self._waiting: queue.Queue[tuple[Stream, int, str] | None] = queue.Queue()
        self._made: set[Stream] = set()
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """A line of the emulator's own, to standard output alone."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._say(text)

    def write(self, stream: Stream, line: str) -> None:
        """A container's line."""
        short = stream.name.partition("/")[0]
        self.say(f"{stream.group.rpartition('/')[2]}/{short} | {line}")
        # CloudWatch takes no empty line.
        if line.strip():
            event = (stream, int(time.time() * 1000), line[:MAX_CHARACTERS])
            self._waiting.put(event)

    def sagemaker(self, stream: Stream, text: str, about: str = ":") -> None:
        """A line as SageMaker itself writes it."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        self.write(stream.data_log, f"{now}:[sagemaker logs]{about} {text}")

    def close(self) -> None:
        """Send what is waiting, for some seconds at most."""
        self._waiting.put(None)
        self._thread.join(10)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            batches: dict[Stream, list[tuple[int, str]]] = defaultdict(list)
            event = self._waiting.get()
            deadline = time.monotonic() + EVERY_SECONDS
            while event is not None:
                batches[event[0]].append((event[1], event[2]))
                left = deadline - time.monotonic()
                try:
                    event = self._waiting.get(timeout=max(left, 0.001))
                except queue.Empty:
                    break
                if len(batches[event[0]] if event else ()) >= MAX_EVENTS:
                    deadline = 0
            is_over = event is None
            for stream, lines in batches.items():
                self._send(stream, lines)

    def _send(self, stream: Stream, lines: list[tuple[int, str]]) -> None:
        names = {"logGroupName": stream.group, "logStreamName": stream.name}
        try:
            if stream not in self._made:
                self._create(stream.region, "create_log_group", stream.group)
                self._create(stream.region, "create_log_stream", **names)
                self._made.add(stream)
            self._backend.call(
                stream.region,
                "logs",
                "put_log_events",
                logEvents=[{"timestamp": when, "message": m} for when, m in lines],
                **names,
            )
        except DeployError as error:
            # A deleted group is made again, as SageMaker does.
            self._made.discard(stream)
            if not self._has_failed:
                self._has_failed = True
                self.say(f"log lines cannot be kept: {error.message}")

    def _create(
        self, region: str, operation: str, group: str | None = None, **names: str
    ) -> None:
        if group is not None:
            names["logGroupName"] = group
        with contextlib.suppress(AlreadyExistsError):
            self._backend.call(region, "logs", operation, **names)
