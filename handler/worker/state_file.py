"""State file that can be replaced atomically, even on a full disk."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["SIZE_BYTES", "StateFile"]

SIZE_BYTES = 4096
"""Size of the file in bytes; a shorter text is padded with line breaks."""


class StateFile:
    """Publishes short texts under one path, atomically and without new disk space.

    `prepare` allocates two files of a fixed size. `write` overwrites the one that is
    not published and then links it to the path, which needs neither a disk block nor a
    file descriptor.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new_link = path.with_name(f".{path.name}-next")
        self._files = [path.with_name(f".{path.name}-{n}") for n in (0, 1)]
        self._descriptors: list[int] = []
        self._index = 0

    @property
    def files(self) -> list[Path]:
        """Paths of the two files of which one is published."""
        return self._files

    def prepare(self) -> None:
        """Create the two files and allocate their space, unless that was done before.

        Raises OSError if the disk is full or the files cannot be opened.
        """
        if self._descriptors:
            return
        opened: list[int] = []
        try:
            for spare in self._files:
                descriptor = os.open(
                    spare, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
                )
                opened.append(descriptor)
                # Write instead of reserving: some file systems allocate blocks only for
                # the first write into a reserved range.
                if os.fstat(descriptor).st_size < SIZE_BYTES:
                    _overwrite(descriptor, "")
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise
        self._descriptors = opened
        # An earlier process may have published one of the two files.
        self._index = int(self._is_published(opened[0]))

    def write(self, text: str) -> None:
        """Replace the published text, after `prepare`.

        Raises ValueError for a text above `SIZE_BYTES`, and OSError.
        """
        self.prepare()
        _overwrite(self._descriptors[self._index], text)
        self._new_link.unlink(missing_ok=True)
        os.link(self._files[self._index], self._new_link)
        self._new_link.replace(self._path)
        self._index = 1 - self._index

    def close(self) -> None:
        """Close both files; the published text stays."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    def _is_published(self, descriptor: int) -> bool:
        """Return whether an open file is the one that is linked to the path."""
        try:
            published = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(published, os.fstat(descriptor))


def _overwrite(descriptor: int, text: str) -> None:
    """Write `text` over the whole file, padded to `SIZE_BYTES`.

    Raises ValueError if it is too long, and OSError if it is written only in part.
    """
    content = text.encode()
    if len(content) > SIZE_BYTES:
        raise ValueError(f"a state of {len(content):,} bytes is above {SIZE_BYTES:,}")
    content = content.ljust(SIZE_BYTES, b"\n")
    if os.pwrite(descriptor, content, 0) != SIZE_BYTES:
        raise OSError("the state was only partly written")
