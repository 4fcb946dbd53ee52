"""Log lines, on standard output and in CloudWatch Logs of the backend."""

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

__all__ = ["LogStream", "Logs"]

SEND_INTERVAL_SECONDS = 0.5
MAX_EVENTS = 1000
MAX_CHARACTERS = 60_000
"""Longest line. UTF-8 has at most 4 bytes a character; CloudWatch allows 256 KB."""


@dataclass(frozen=True, slots=True)
class LogStream:
    """Log stream in CloudWatch Logs."""

    region: str
    group: str
    name: str

    @property
    def data_log(self) -> LogStream:
        """Stream to which SageMaker writes its own lines, next to the container's."""
        return LogStream(self.region, self.group, f"{self.name}/data-log")


class Logs:
    """Log writer for any thread; a background thread sends lines twice a second."""

    def __init__(self, print_line: Callable[[str], None], backend: Backend) -> None:
        """Start the thread that sends lines; `print_line` prints one."""
        self._print_line = print_line
        self._backend = backend
        self._lock = threading.Lock()
        self._pending: queue.Queue[tuple[LogStream, int, str] | None] = queue.Queue()
        self._created: set[LogStream] = set()
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def print_line(self, text: str) -> None:
        """Print a line of the emulator itself, without sending it to CloudWatch."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._print_line(text)

    def write(self, stream: LogStream, line: str) -> None:
        """Print a line of a container, and queue it for CloudWatch.

        Blank lines are only printed, and long ones are cut for CloudWatch.
        """
        short = stream.name.partition("/")[0]
        self.print_line(f"{stream.group.rpartition('/')[2]}/{short} | {line}")
        # CloudWatch rejects empty messages.
        if line.strip():
            event = (stream, int(time.time() * 1000), line[:MAX_CHARACTERS])
            self._pending.put(event)

    def write_sagemaker(self, stream: LogStream, text: str, prefix: str = ":") -> None:
        """Print a line of SageMaker itself, and queue it for the stream's data log.

        The line begins with the time and `prefix`, in SageMaker's format.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        self.write(stream.data_log, f"{now}:[sagemaker logs]{prefix} {text}")

    def close(self) -> None:
        """Send the queued lines and end the thread; give up after 10 seconds."""
        self._pending.put(None)
        self._thread.join(10)

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            batches: dict[LogStream, list[tuple[int, str]]] = defaultdict(list)
            event = self._pending.get()
            deadline = time.monotonic() + SEND_INTERVAL_SECONDS
            while event is not None:
                batches[event[0]].append((event[1], event[2]))
                seconds_left = deadline - time.monotonic()
                try:
                    event = self._pending.get(timeout=max(seconds_left, 0.001))
                except queue.Empty:
                    break
                if len(batches[event[0]] if event else ()) >= MAX_EVENTS:
                    deadline = 0
            is_closing = event is None
            for stream, lines in batches.items():
                self._send(stream, lines)

    def _send(self, stream: LogStream, lines: list[tuple[int, str]]) -> None:
        names = {"logGroupName": stream.group, "logStreamName": stream.name}
        try:
            if stream not in self._created:
                self._create_unless_exists(
                    stream.region, "create_log_group", stream.group
                )
                self._create_unless_exists(stream.region, "create_log_stream", **names)
                self._created.add(stream)
            self._backend.call(
                stream.region,
                "logs",
                "put_log_events",
                logEvents=[{"timestamp": when, "message": m} for when, m in lines],
                **names,
            )
        except DeployError as error:
            # If the group was deleted, the next line creates it again, as in SageMaker.
            self._created.discard(stream)
            if not self._has_failed:
                self._has_failed = True
                self.print_line(f"cannot send log lines: {error.message}")

    def _create_unless_exists(
        self, region: str, operation: str, group: str | None = None, **names: str
    ) -> None:
        if group is not None:
            names["logGroupName"] = group
        with contextlib.suppress(AlreadyExistsError):
            self._backend.call(region, "logs", operation, **names)
