"""Logging as one JSON object per line on standard output, without document text."""

from __future__ import annotations

import errno
import json
import logging
import sys
import threading
import time
from collections.abc import Callable

__all__ = [
    "OUT_OF_DESCRIPTORS",
    "DescriptorShortageFilter",
    "JSONFormatter",
    "is_out_of_descriptors",
    "log_to_stdout",
]

OUT_OF_DESCRIPTORS = "out of file descriptors"
"""Event logged when a file, socket or process needs a descriptor and none is free."""
QUIET_SECONDS = 60.0

# Attributes of every LogRecord; the other attributes were passed in `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JSONFormatter(logging.Formatter):
    """Formats a record as JSON: time, level, event and the fields passed in `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update(
            (key, value)
            for key, value in vars(record).items()
            # CloudWatch looks for metrics under "_aws".
            if key not in _STANDARD and (key == "_aws" or not key.startswith("_"))
        )
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return json.dumps(line, default=str, allow_nan=False)
        except (TypeError, ValueError):
            # JSON cannot represent a value, such as NaN: write all values as text.
            return json.dumps({key: str(value) for key, value in line.items()})


def is_out_of_descriptors(error: BaseException | None) -> bool:
    """Return whether an error is, or was caused by, a lack of file descriptors."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False


class DescriptorShortageFilter(logging.Filter):
    """Passes one record a minute among those caused by a lack of descriptors.

    Without it, every request and every state file written would log the same error.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._quiet_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be written."""
        error = record.exc_info[1] if record.exc_info else None
        if not is_out_of_descriptors(error):
            return True
        now = self._clock()
        with self._lock:
            if now < self._quiet_until:
                return False
            self._quiet_until = now + QUIET_SECONDS
        return True


def log_to_stdout(name: str = "handler") -> None:
    """Send the events of the logger `name` from level INFO to standard output only.

    Replaces its handlers, so that a second call does not duplicate lines.
    """
    logger = logging.getLogger(name)
    stream = logging.StreamHandler(sys.stdout)
    stream.setFormatter(JSONFormatter())
    stream.addFilter(DescriptorShortageFilter())
    logger.handlers = [stream]
    logger.setLevel(logging.INFO)
    logger.propagate = False
