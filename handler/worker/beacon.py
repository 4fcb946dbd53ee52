"""Tells /ping whether a page could be read now, and hears what the worker cannot see.

Small files in one folder. `state` is written here and read by frontend/, which answers
/ping; `draining` is written by the supervisor that stops the server, and holds the time
by which the last page must be read; `gone` is a folder in which frontend/ keeps an
empty file for each open request whose client has left, by the request's id. Files,
because both sides outlive each other, and reading one costs a ping nothing. Neither
`state` nor `draining` needs disk space once the server has started.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from handler.logs import OUT_OF_DESCRIPTORS, is_out_of_descriptors
from handler.worker.state_file import StateFile

__all__ = ["DRAINING", "GONE", "STATE", "Beacon"]

logger = logging.getLogger(__name__)

STATE = "state"
DRAINING = "draining"
GONE = "gone"
POLL_SECONDS = 0.1
BEAT_SECONDS = 1.0
"""Whoever reads the file takes silence of ten of these for a worker that hangs."""


class Beacon:
    """Writes what `describe` says when it changes and once a second, until closed.

    `drain` is called again and again while `draining` is there, with the time in it:
    of the monotonic clock, which all processes of a machine share. So is `leave`, with
    the ids in `gone`.
    """

    def __init__(
        self,
        folder: Path,
        describe: Callable[[], Mapping[str, object]],
        drain: Callable[[float], None],
        leave: Callable[[Collection[str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._describe = describe
        self._drain = drain
        self._leave = leave
        self._clock = clock
        self._state = StateFile(folder / STATE)
        self._has_failed = False
        self._written: str | None = None
        self._written_at = 0.0
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beacon", daemon=True)

    def start(self) -> None:
        """Write for the first time, then go on in the background."""
        self.look()
        self._thread.start()

    def close(self) -> None:
        self._is_closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._state.close()

    def look(self) -> None:
        """See whether there is news, in any direction."""
        try:
            ends_at, gone = self._read_draining(), self._read_gone()
        except OSError as error:
            if not is_out_of_descriptors(error):
                raise
            # Skip reading this time, but still write the state: the worker is alive.
            logger.exception(OUT_OF_DESCRIPTORS)
            ends_at, gone = None, frozenset()
        if ends_at is not None:
            self._drain(ends_at)
        if gone:
            self._leave(gone)
        lines = [f"{name}={value}\n" for name, value in self._describe().items()]
        text = "".join(lines)
        now = self._clock()
        if text != self._written or now - self._written_at >= BEAT_SECONDS:
            self._state.write(text)
            self._written, self._written_at = text, now

    def _run(self) -> None:
        while not self._is_closed.wait(POLL_SECONDS):
            try:
                self.look()
                self._has_failed = False
            except Exception:
                # /ping turns 503 once the state is old, as it should. Log the reason
                # once, not every second.
                if not self._has_failed:
                    logger.exception("state not written")
                self._has_failed = True
                self._is_closed.wait(BEAT_SECONDS)

    def _read_draining(self) -> float | None:
        try:
            return float((self._folder / DRAINING).read_text())
        except (FileNotFoundError, ValueError):  # not there, or being written
            return None

    def _read_gone(self) -> frozenset[str]:
        try:
            return frozenset(path.name for path in (self._folder / GONE).iterdir())
        except FileNotFoundError:  # nobody ever left
            return frozenset()
