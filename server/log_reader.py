"""Reader of a server's log lines that finds why it failed."""

from __future__ import annotations

import json
import re

__all__ = ["ServerLogReader"]

MAX_FAILED_LOADS = 3
"""Failed loads until we give up. TorchServe itself would retry for minutes."""
_JAVA_ERROR = re.compile(r"Exception in |Terminating due to |Caused by: |java[.\w]+: ")


class ServerLogReader:
    """Finds the reason of a failure among the log lines, which it gets in order."""

    def __init__(self) -> None:
        self.failure: str | None = None
        """Reason why the model cannot be loaded; None while it may still load."""
        self.last_error: str | None = None
        """Last error message of Java."""
        self._num_failed_loads = 0

    def read_line(self, line: str) -> None:
        """Set `failure` and `last_error` if a line reports them."""
        if '"model not loaded"' in line:
            self.failure = _parse_reason(line)
        if (error := _find_java_error(line)) is not None:
            self.last_error = error
        self._num_failed_loads += "Load model failed" in line
        if self._num_failed_loads == MAX_FAILED_LOADS and not self.failure:
            self.failure = "the worker ends repeatedly while it loads the handler"


def _find_java_error(line: str) -> str | None:
    """Return the error message of Java in a line; None if there is none."""
    if line.startswith("{"):
        try:
            event = json.loads(line)
        except ValueError:
            return None
        is_error = event.get("event") == "torchserve" and event.get("level") == "error"
        return str(event.get("message")) if is_error else None
    return line if _JAVA_ERROR.match(line) else None


def _parse_reason(line: str) -> str:
    try:
        return str(json.loads(line)["reason"])
    except (ValueError, TypeError, LookupError):
        return line
