"""What a server's lines say of why it will never be ready, or why it ended."""

from __future__ import annotations

import json
import re

__all__ = ["Said"]

MAX_FAILED_LOADS = 3
"""TorchServe itself would go on trying for minutes."""
_JAVA_ERROR = re.compile(r"Exception in |Terminating due to |Caused by: |java[.\w]+: ")


class Said:
    """Given every line in turn."""

    def __init__(self) -> None:
        self.failure: str | None = None
        """Why the model will never be ready; None while it may be."""
        self.last_error: str | None = None
        """What Java said last of something that went wrong."""
        self._num_failed_loads = 0

    def take(self, line: str) -> None:
        if '"model not loaded"' in line:
            self.failure = _reason(line)
        if (error := _error(line)) is not None:
            self.last_error = error
        self._num_failed_loads += "Load model failed" in line
        if self._num_failed_loads == MAX_FAILED_LOADS and not self.failure:
            self.failure = "the worker ends while it loads the handler"


def _error(line: str) -> str | None:
    """What a line says went wrong in Java; None where it says nothing of the kind."""
    if line.startswith("{"):
        try:
            event = json.loads(line)
        except ValueError:
            return None
        is_error = event.get("event") == "torchserve" and event.get("level") == "error"
        return str(event.get("message")) if is_error else None
    return line if _JAVA_ERROR.match(line) else None


def _reason(line: str) -> str:
    try:
        return str(json.loads(line)["reason"])
    except (ValueError, TypeError, LookupError):
        return line
