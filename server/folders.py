"""Folders of one server, which are removed with it or by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["LockedFolder", "remove_leftovers"]


class LockedFolder:
    """A new folder in `parent` that is locked while this process lives.

    The lock tells the folder of a running server from one that a killed server has
    left. A process id could not: containers that share a folder count processes each
    for themselves.
    """

    def __init__(self, prefix: str, parent: Path) -> None:
        while True:
            # Not a letter more: the path of a socket has 107 at most.
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Another server may have removed it before it was locked.
            if self.path.is_dir():
                return
            os.close(self._lock)

    def give_to(self, user: int) -> None:
        """Make `user` its owner."""
        os.chown(self.path, user, user)

    def close(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def remove_leftovers(prefix: str, parent: Path) -> None:
    """Remove the folders in `parent` that servers have left which were killed.

    Leaves alone what another user owns, unless we are root.
    """
    for path in parent.glob(f"{prefix}*"):
        # Whatever cannot be opened, locked or removed is not ours, or still in use.
        with contextlib.suppress(OSError):
            descriptor = os.open(
                path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.geteuid() in (0, os.fstat(descriptor).st_uid):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
