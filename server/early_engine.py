"""Starts an engine process before Java, so that the model is loaded meanwhile.

The worker takes it over when it comes; where it does not fit, or is gone by then, the
worker starts one as always.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handler.engine.process import early
from handler.errors import ModelLoadError
from handler.processes.child import Child
from handler.settings import read_settings

__all__ = ["VARIABLE", "EarlyEngine", "start_early_engine"]

VARIABLE = "CHANDRA_EARLY_ENGINE"
# As log4j2.xml filters what the worker and its children print.
_WORTH_SAYING = re.compile(r"\{|\s*(Traceback|File |[A-Za-z.]+Error)")


class EarlyEngine:
    """The process, listened to until it ends, whoever owns it by then."""

    def __init__(self, child: Child, address: str, line: Callable[[str], None]) -> None:
        self._child = child
        self._address = address
        self._line = line
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def close(self) -> None:
        """End it, if nobody else has, and hear its last line."""
        self._child.kill()
        self._child.close()
        self._listener.join(5)

    def _listen(self) -> None:
        with self._child.output as output:
            for text in output:
                if _WORTH_SAYING.match(text):
                    with contextlib.suppress(OSError):  # nobody may be reading
                        self._line(text.rstrip("\n"))
        code = self._child.wait()
        # The folder goes with the server.
        with contextlib.suppress(OSError):
            early.ended_file(self._address).write_text(str(code))


def start_early_engine(
    table: Mapping[str, Any],
    environ: Mapping[str, str],
    line: Callable[[str], None],
    user: int | None = None,
) -> EarlyEngine | None:
    """Start it at the socket that `environ` names, with the settings of the worker.

    None where the settings make no sense: the worker says so.
    """
    try:
        _, settings = read_settings(table, environ)
    except ModelLoadError:
        return None
    address = Path(environ[VARIABLE])
    child = Child(
        early.main,
        str(address),
        settings,
        environ=environ,
        user=user,
        has_output=True,
    )
    return EarlyEngine(child, str(address), line)
