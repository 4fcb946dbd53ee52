"""Temporary folders of a server.

A server removes its folders when it stops. If it is killed, the next server does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["LockedFolder", "remove_leftovers"]


class LockedFolder:
    """New folder in `parent` that is locked until it is closed or this process ends.

    The lock distinguishes the folder of a running server from that of a killed one. A
    process id would not: containers that share a folder have separate process ids.
    """

    def __init__(self, prefix: str, parent: Path) -> None:
        while True:
            # Keep the name short: the path of a socket has at most 107 bytes.
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Another server may have removed it before it was locked.
            if self.path.is_dir():
                return
            os.close(self._lock)

    def give_to(self, user: int) -> None:
        """Make `user` the owner of the folder, but not of its content."""
        os.chown(self.path, user, user)

    def close(self) -> None:
        """Remove the folder with its content. Further calls do nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def remove_leftovers(prefix: str, parent: Path) -> None:
    """Remove the folders of killed servers from `parent`.

    Folders of other users stay, unless the current user is root.
    """
    for path in parent.glob(f"{prefix}*"):
        # A folder that cannot be opened or locked is in use or belongs to another user.
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
