"""A request's document where other processes can open it, and nowhere for long."""

from __future__ import annotations

import os
import tempfile

__all__ = ["Spool"]


class Spool:
    """A file without a name: other processes of ours open it by `path`.

    It is gone when it is closed, or when this process ends in whatever way.
    """

    def __init__(self, content: bytes) -> None:
        self._file = tempfile.TemporaryFile(prefix="chandra-")  # noqa: SIM115
        self._file.write(content)
        self._file.flush()

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._file.fileno()}"

    def close(self) -> None:
        self._file.close()
