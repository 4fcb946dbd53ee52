"""One JSON object a line on standard output, and never a word of a document."""

from __future__ import annotations

import json
import logging
import sys
import time

__all__ = ["JSONFormatter", "log_to_stdout"]

# What every LogRecord carries; the rest came in by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JSONFormatter(logging.Formatter):
    """An event, when it happened, and its numbers."""

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
            # Nothing JSON can say, NaN for one: better as text than not at all.
            return json.dumps({key: str(value) for key, value in line.items()})


def log_to_stdout(name: str = "handler") -> None:
    """Send the package's events to standard output, once, in place of elsewhere."""
    logger = logging.getLogger(name)
    stream = logging.StreamHandler(sys.stdout)
    stream.setFormatter(JSONFormatter())
    logger.handlers = [stream]
    logger.setLevel(logging.INFO)
    logger.propagate = False
