"""Log lines of the container, from every stream of a log group, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.aws.client import AWSClient
from deploy.errors import NotFoundError

__all__ = ["LogEvent", "LogReader"]

# CloudWatch shows lines with a delay and out of order.
OVERLAP_MILLISECONDS = 60_000
# Java, Python and the kernel write lines with different levels, or without one.
ERROR_WORDS = ("error", "exception", "traceback", "fatal", "critical", "killed")


@dataclass(frozen=True, slots=True)
class LogEvent:
    """Line of a log."""

    identifier: str
    milliseconds: int
    stream: str
    message: str

    @property
    def when(self) -> datetime:
        """Time of the line."""
        return datetime.fromtimestamp(self.milliseconds / 1000, UTC)

    @property
    def is_error(self) -> bool:
        """True if the line contains a word of an error."""
        return any(word in self.message.lower() for word in ERROR_WORDS)


class LogReader:
    """Reader that continues where it stopped and returns no line twice."""

    def __init__(
        self, aws: AWSClient, group: str, *, since: datetime, streams: str = ""
    ) -> None:
        """Set up a reader of the streams whose names begin with `streams`."""
        self._aws = aws
        self._group = group
        self._streams = streams
        self._from = int(since.timestamp() * 1000)
        self._seen: dict[str, int] = {}

    def read(self) -> list[LogEvent]:
        """Return the new lines; none if the log group does not exist yet."""
        try:
            events = sorted(self._new(), key=lambda e: (e.milliseconds, e.identifier))
        except NotFoundError:
            return []
        if events:
            self._from = max(self._from, events[-1].milliseconds - OVERLAP_MILLISECONDS)
        self._seen = {
            name: at for name, at in self._seen.items() if at >= self._from
        } | {e.identifier: e.milliseconds for e in events}
        return events

    def _new(self) -> Iterator[LogEvent]:
        narrowed = {"logStreamNamePrefix": self._streams} if self._streams else {}
        for event in self._aws.pages(
            "logs",
            "filter_log_events",
            "events",
            logGroupName=self._group,
            startTime=self._from,
            **narrowed,
        ):
            if not event["logStreamName"].startswith(self._streams):
                continue
            if event["eventId"] not in self._seen:
                yield LogEvent(
                    event["eventId"],
                    event["timestamp"],
                    event["logStreamName"],
                    event["message"].rstrip("\n"),
                )
