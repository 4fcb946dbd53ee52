"""Hash of a file that is computed while its parts arrive in any order."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["StreamedHash"]

CHUNK_BYTES = 1024**2


class StreamedHash:
    """SHA-256 of a file that is being written in parts of `part_bytes`.

    `missing` holds the numbers of the parts that are not in the file yet; call `add`
    for each when it has been written. `run` hashes the parts in order, mostly from the
    page cache, waits for missing ones, and passes the bytes of each step to `progress`.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        part_bytes: int,
        missing: Iterable[int],
        progress: Callable[[int], None] = lambda num_bytes: None,
    ) -> None:
        self._path = path
        self._size = size
        self._part_bytes = part_bytes
        self._missing = set(missing)
        self._progress = progress
        self._is_abandoned = False
        self._changed = threading.Condition()

    def add(self, number: int) -> None:
        """Report that a part has been written to the file."""
        with self._changed:
            self._missing.discard(number)
            self._changed.notify()

    def abandon(self) -> None:
        """Make `run` return None when it waits for its next part."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify()

    def run(self) -> str | None:
        """Wait for all parts and return the SHA-256 in hexadecimal digits.

        Returns None if `abandon` has been called by the time it waits for a part. If
        the file is truncated meanwhile, the digest is that of the bytes read so far.
        """
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with self._path.open("rb", buffering=0) as file:
            at = 0
            while at < self._size:
                if not self._wait_for(at // self._part_bytes):
                    return None
                end = min(at - at % self._part_bytes + self._part_bytes, self._size)
                num_read = file.readinto(buffer[: end - at])
                if not num_read:
                    # The file was truncated meanwhile, so its digest will not match.
                    break
                digest.update(buffer[:num_read])
                at += num_read
                self._progress(num_read)
        return digest.hexdigest()

    def _wait_for(self, number: int) -> bool:
        """Wait until a part has been written; return False if abandoned."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_abandoned or number not in self._missing
            )
            return not self._is_abandoned
