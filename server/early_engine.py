"""Engine process that starts before Java, so that both load at the same time.

The worker connects to it later. If its settings differ from the worker's, or if it has
ended by then, the worker starts an engine of its own.
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

__all__ = ["SOCKET_VARIABLE", "EarlyEngine", "start_early_engine"]

SOCKET_VARIABLE = "CHANDRA_EARLY_ENGINE"
# The same filter as log4j2.xml has for the output of the worker and its children.
_RELEVANT_LINE = re.compile(r"\{|\s*(Traceback|File |[A-Za-z.]+Error)")


class EarlyEngine:
    """Running early engine.

    A thread passes its relevant output lines to `write_line` until the process ends,
    and then writes the exit status to a file beside the socket at `address`.
    """

    def __init__(
        self, child: Child, address: str, write_line: Callable[[str], None]
    ) -> None:
        self._child = child
        self._address = address
        self._write_line = write_line
        self._listener = threading.Thread(target=self._forward_output, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def close(self) -> None:
        """Kill the process, and wait up to 5 s until its output is forwarded."""
        self._child.kill()
        self._child.close()
        self._listener.join(5)

    def _forward_output(self) -> None:
        with self._child.output as output:
            for text in output:
                if _RELEVANT_LINE.match(text):
                    with contextlib.suppress(OSError):  # the reader may have ended
                        self._write_line(text.rstrip("\n"))
        code = self._child.wait()
        # The folder may have been removed with the server.
        with contextlib.suppress(OSError):
            early.exit_status_path(self._address).write_text(str(code))


def start_early_engine(
    table: Mapping[str, Any],
    environ: Mapping[str, str],
    write_line: Callable[[str], None],
    user: int | None = None,
) -> EarlyEngine | None:
    """Start an engine that listens at the socket path in `environ`.

    `table` and `environ` give the same settings to the worker later. `user` is the user
    id of the process; None keeps the current user. Return None and start nothing if the
    settings are invalid, because the worker reports the reason.
    """
    try:
        _, settings = read_settings(table, environ)
    except ModelLoadError:
        return None
    address = Path(environ[SOCKET_VARIABLE])
    child = Child(
        early.main,
        str(address),
        settings,
        environ=environ,
        user=user,
        has_output=True,
    )
    return EarlyEngine(child, str(address), write_line)
