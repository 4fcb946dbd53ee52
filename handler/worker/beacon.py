"""Exchange of state between the worker, frontend/ and the supervisor, through files.

The files lie in one folder:

- `state`: written by the worker; frontend/ reads it to answer /ping.
- `draining`: written by the supervisor when it stops the server; contains the time by
  which the last page must be read.
- `gone`: folder in which frontend/ keeps an empty file for each open request whose
  client has disconnected; its name is the id of the request.

Files survive a restart of either side and are cheap to read for each ping. `state` and
`draining` need no further disk space once the server has started.
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
"""Interval at which the state is written even if it has not changed. Readers regard a
state file that is older than ten intervals as that of a worker that hangs."""


class Beacon:
    """Publishes the state from `describe`, and watches for draining and disconnects.

    The state is written when it changes and once a second. While `draining` exists,
    `drain` is called repeatedly with the time in the file, which is on the monotonic
    clock that all processes of a machine share. `disconnect` is called repeatedly with
    the ids in `gone`.
    """

    def __init__(
        self,
        folder: Path,
        describe: Callable[[], Mapping[str, object]],
        drain: Callable[[float], None],
        disconnect: Callable[[Collection[str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._describe = describe
        self._drain = drain
        self._disconnect = disconnect
        self._clock = clock
        self._state = StateFile(folder / STATE)
        self._has_failed = False
        self._last_text: str | None = None
        self._last_write_at = 0.0
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beacon", daemon=True)

    def start(self) -> None:
        """Call `update` once, then repeatedly in a background thread.

        Raises the error of the first update; later errors are logged.
        """
        self.update()
        self._thread.start()

    def close(self) -> None:
        """Stop the background thread; the last state stays in its file."""
        self._is_closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._state.close()

    def update(self) -> None:
        """Check for draining and disconnects, and write the state if it is due.

        Calls `drain` and `disconnect` accordingly. The state is written if it has
        changed or is a second old. Raises OSError if a file cannot be read or written,
        and the errors of the functions that are called.
        """
        try:
            stop_at, gone_ids = self._read_draining(), self._read_gone()
        except OSError as error:
            if not is_out_of_descriptors(error):
                raise
            # Skip reading this time, but write the state, because the worker is alive.
            logger.exception(OUT_OF_DESCRIPTORS)
            stop_at, gone_ids = None, frozenset()
        if stop_at is not None:
            self._drain(stop_at)
        if gone_ids:
            self._disconnect(gone_ids)
        lines = [f"{name}={value}\n" for name, value in self._describe().items()]
        text = "".join(lines)
        now = self._clock()
        if text != self._last_text or now - self._last_write_at >= BEAT_SECONDS:
            self._state.write(text)
            self._last_text, self._last_write_at = text, now

    def _run(self) -> None:
        while not self._is_closed.wait(POLL_SECONDS):
            try:
                self.update()
                self._has_failed = False
            except Exception:
                # /ping returns 503 once the state is old, as it should. Log the reason
                # once instead of every second.
                if not self._has_failed:
                    logger.exception("state not written")
                self._has_failed = True
                self._is_closed.wait(BEAT_SECONDS)

    def _read_draining(self) -> float | None:
        """Return the time in `draining`, or None if the server is not draining."""
        try:
            return float((self._folder / DRAINING).read_text())
        except (FileNotFoundError, ValueError):  # missing, or still being written
            return None

    def _read_gone(self) -> frozenset[str]:
        """Return the ids of open requests whose clients have disconnected."""
        try:
            return frozenset(path.name for path in (self._folder / GONE).iterdir())
        except FileNotFoundError:  # no client has disconnected so far
            return frozenset()
