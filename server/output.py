"""Log output of a container: one JSON object a line.

It consists of our own events and of TorchServe's output without known noise.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable

from handler.logs import JSONFormatter

__all__ = ["EventWriter"]

# Lines that every start prints and that carry no information, and stack frames of Java.
_NOISE = re.compile(
    r"\s*$|\s+at |\s+\.\.\. \d+ more"
    r"|WARNING: sun\.reflect\.Reflection\.getCallerClass"
    r"|nvidia-smi not available or failed"
    r"|Model server started\."
    # Without a network, a container cannot resolve its own name.
    r"|.*Could not determine local host name|Caused by: java\.net\.UnknownHost"
)
MAX_CHARACTERS = 4000


class EventWriter:
    """Writer of events and filtered lines. It is thread-safe.

    `say` writes one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._formatter = JSONFormatter()

    def write_line(self, text: str) -> None:
        """Write a line of TorchServe, its worker or Java, unless it is noise."""
        if _NOISE.match(text):
            return
        if _is_object(text):
            with self._lock:
                self._say(text)
        else:
            # For example a traceback of the starting worker, or a fatal error of Java.
            self.write_event(
                "output", logging.WARNING, line=text.rstrip()[:MAX_CHARACTERS]
            )

    def write_event(
        self, name: str, level: int = logging.INFO, **fields: object
    ) -> None:
        """Write an event with its fields."""
        record = logging.makeLogRecord(
            {"msg": name, "levelno": level, "levelname": logging.getLevelName(level)}
        )
        vars(record).update(fields)
        with self._lock:
            self._say(self._formatter.format(record))


def _is_object(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
