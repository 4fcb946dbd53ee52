"""One JSON object a line: our own events, and what TorchServe prints but chatter."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable

from handler.logs import JSONFormatter

__all__ = ["Output"]

# What every start says and nobody needs, and where in Java's code it was said.
_CHATTER = re.compile(
    r"\s*$|\s+at |\s+\.\.\. \d+ more"
    r"|WARNING: sun\.reflect\.Reflection\.getCallerClass"
    r"|nvidia-smi not available or failed"
    r"|Model server started\."
    # Without a network, a container cannot resolve its own name.
    r"|.*Could not determine local host name|Caused by: java\.net\.UnknownHost"
)
MAX_CHARACTERS = 4000


class Output:
    """Writes events and cleaned lines through `say`, whole, from any thread."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._formatter = JSONFormatter()

    def line(self, text: str) -> None:
        """One line that TorchServe, its worker or Java has printed."""
        if _CHATTER.match(text):
            return
        if _is_object(text):
            with self._lock:
                self._say(text)
        else:
            # A traceback while the worker starts, or Java's last words.
            self.event("output", logging.WARNING, line=text.rstrip()[:MAX_CHARACTERS])

    def event(self, name: str, level: int = logging.INFO, **numbers: object) -> None:
        """An event of our own, with its numbers."""
        record = logging.makeLogRecord(
            {"msg": name, "levelno": level, "levelname": logging.getLevelName(level)}
        )
        vars(record).update(numbers)
        with self._lock:
            self._say(self._formatter.format(record))


def _is_object(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
