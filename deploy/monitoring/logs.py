"""Reader of a log group: new lines of all streams, in order of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deploy.aws.client import AWSClient
from deploy.errors import NotFoundError

__all__ = ["LogEvent", "LogReader"]

# CloudWatch shows lines with a delay, and not in order of time.
OVERLAP_MILLISECONDS = 60_000
# Lines come from Java, Python and the kernel, so there is no common level.
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
        """True if the line contains a word of ERROR_WORDS, in any case."""
        return any(word in self.message.lower() for word in ERROR_WORDS)


class LogReader:
    """Reader of one log group that returns each line once."""

    def __init__(
        self, aws: AWSClient, group: str, *, since: datetime, streams: str = ""
    ) -> None:
        """Read lines from `since` on, of streams whose names begin with `streams`."""
        self._aws = aws
        self._group = group
        self._streams = streams
        self._from = int(since.timestamp() * 1000)
        self._seen: dict[str, int] = {}

    def read(self) -> list[LogEvent]:
        """Return the lines that are new since the last call, in order of time.

        The list is empty as long as the log group does not exist.
        """
        narrowed = {"logStreamNamePrefix": self._streams} if self._streams else {}
        items = self._aws.pages(
            "logs",
            "filter_log_events",
            "events",
            logGroupName=self._group,
            startTime=self._from,
            **narrowed,
        )
        try:
            new = [item for item in items if self._is_new(item)]
        except NotFoundError:
            return []
        events = sorted(map(_event_of, new), key=_order_of)
        if events:
            self._from = max(self._from, events[-1].milliseconds - OVERLAP_MILLISECONDS)
        self._seen = {
            name: at for name, at in self._seen.items() if at >= self._from
        } | {e.identifier: e.milliseconds for e in events}
        return events

    def _is_new(self, item: Mapping[str, Any]) -> bool:
        is_ours = item["logStreamName"].startswith(self._streams)
        return is_ours and item["eventId"] not in self._seen


def _order_of(event: LogEvent) -> tuple[int, int, str]:
    """Return the sort key of a line: time, and then the number that identifies it."""
    # The numbers have one length in CloudWatch, but not in moto.
    return event.milliseconds, len(event.identifier), event.identifier


def _event_of(item: Mapping[str, Any]) -> LogEvent:
    return LogEvent(
        item["eventId"],
        item["timestamp"],
        item["logStreamName"],
        item["message"].rstrip("\n"),
    )
