"""Reads the weights' files ahead of whoever loads them, several parts at once.

A loader that maps a file waits for one small piece after the other; storage is
fast only when it is asked for much at a time. What is read goes to the system's file
cache and no further, which costs half the processor time of a copy; the cache gives
way when memory is short.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["ReadAhead"]

PART_BYTES = 4 * 1024**2
PIECE_BYTES = 128 * 1024
"""Linux drops what is asked for beyond a disk's window, by default this much."""
NUM_THREADS = 8


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
    """One part; 0 bytes where that fails: the loader will say why."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return 0
    try:
        end = min(start + PART_BYTES, os.fstat(descriptor).st_size)
        pieces = range(start, end, PIECE_BYTES)
        for piece in pieces:
            os.posix_fadvise(descriptor, piece, PIECE_BYTES, os.POSIX_FADV_WILLNEED)
        # One byte of each is there when all of it is.
        for piece in pieces:
            os.pread(descriptor, 1, min(piece + PIECE_BYTES, end) - 1)
        return max(end - start, 0)
    except OSError:
        return 0
    finally:
        os.close(descriptor)
