"""Read-ahead of weight files into the page cache, before they are loaded.

A loader that memory-maps a file waits for one small piece after another, but storage is
fast only if several large parts are requested at once. The bytes are read into the
kernel's page cache and not copied further, which takes a quarter of the CPU time of a
copy. The kernel evicts them if memory becomes short.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["ReadAhead"]

PART_BYTES = 16 * 1024**2
NUM_THREADS = 8
NOWHERE = Path(os.devnull)


class ReadAhead:
    """Background threads that read files in the order in which they are loaded.

    They start at once. A file that cannot be read is skipped without an error.
    """

    def __init__(self, files: Sequence[Path], num_threads: int = NUM_THREADS) -> None:
        self._parts = iter(
            [
                (file, start)
                for file in files
                for start in range(0, file.stat().st_size, PART_BYTES)
            ]
        )
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._num_bytes = 0
        self.started = time.monotonic()
        self._ended_at = self.started
        self._threads = [
            threading.Thread(target=self._run, daemon=True) for _ in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> tuple[int, float]:
        """Wait for the end; return the bytes read and the seconds that this took."""
        for thread in self._threads:
            thread.join()
        return self._num_bytes, self._ended_at - self.started

    def cancel(self) -> None:
        """Start no further part. Parts that are being read are finished."""
        self._is_cancelled = True

    def _run(self) -> None:
        while not self._is_cancelled:
            with self._lock:
                part = next(self._parts, None)
            if part is None:
                return
            num_bytes = _read_part(*part)
            with self._lock:
                self._num_bytes += num_bytes
                self._ended_at = time.monotonic()


def _read_part(file: Path, start: int) -> int:
    """Read one part and return its size in bytes.

    Stops at the first failure without an error, because the loader reports it.
    """
    num_bytes = 0
    try:
        with file.open("rb") as source, NOWHERE.open("wb") as nowhere:
            # sendfile copies nothing into this process and runs without Python between
            # two pieces.
            while num_bytes < PART_BYTES:
                num_sent = os.sendfile(
                    nowhere.fileno(),
                    source.fileno(),
                    start + num_bytes,
                    PART_BYTES - num_bytes,
                )
                if not num_sent:
                    break
                num_bytes += num_sent
    except OSError:
        pass
    return num_bytes
