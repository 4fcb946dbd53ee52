"""Reads the weights' files ahead of whoever loads them, several parts at once.

A loader that maps a file waits for one small piece after the other; storage is
fast only when it is asked for much at a time. What is read goes to the system's file
cache and no further, which costs a quarter of the processor time of a copy; the cache
gives way when memory is short.
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
    """Files being read in the background, in the order they are loaded."""

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
        self._ended = self.started
        self._threads = [
            threading.Thread(target=self._run, daemon=True) for _ in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> tuple[int, float]:
        """Bytes that were read, and the seconds from the first to the last of them."""
        for thread in self._threads:
            thread.join()
        return self._num_bytes, self._ended - self.started

    def cancel(self) -> None:
        """Read no further part."""
        self._is_cancelled = True

    def _run(self) -> None:
        while not self._is_cancelled:
            with self._lock:
                part = next(self._parts, None)
            if part is None:
                return
            num_bytes = _read(*part)
            with self._lock:
                self._num_bytes += num_bytes
                self._ended = time.monotonic()


def _read(file: Path, start: int) -> int:
    """One part; the bytes before a failure: the loader will say why."""
    num_bytes = 0
    try:
        with file.open("rb") as source, NOWHERE.open("wb") as nowhere:
            # Without a buffer to copy to, and without Python between two pieces.
            while num_bytes < PART_BYTES:
                sent = os.sendfile(
                    nowhere.fileno(),
                    source.fileno(),
                    start + num_bytes,
                    PART_BYTES - num_bytes,
                )
                if not sent:
                    break
                num_bytes += sent
    except OSError:
        pass
    return num_bytes
