"""Folder in which a server's processes exchange their state."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path

from handler.worker.beacon import DRAINING, GONE, STATE
from handler.worker.state_file import SIZE_BYTES, StateFile
from server.folders import LockedFolder, remove_leftovers

__all__ = ["SHARED_MEMORY", "StateFolder"]

SHARED_MEMORY = Path("/dev/shm")
"""Memory-backed, so that documents on disk cannot fill it. 64 MB in a container."""
PREFIX = "chandra-state-"
NUM_GONE = 300
"""Most requests that TorchServe holds at once, in its queue or at the worker."""
MIN_FREE_BYTES = 64 * SIZE_BYTES


class StateFolder:
    """Folder with a server's `state`, `draining`, `gone` and its engine's socket.

    It is created in `shared_memory` if that is usable, otherwise in `fallback`, with
    the disk space for all later writes. Raise OSError if there is too little. `user` is
    the server's user id; None keeps the current user. Folders of killed servers are
    removed from `shared_memory`.
    """

    def __init__(
        self,
        fallback: Path,
        user: int | None = None,
        shared_memory: Path = SHARED_MEMORY,
    ) -> None:
        if _is_usable(shared_memory):
            with contextlib.suppress(OSError):
                remove_leftovers(PREFIX, shared_memory)
                self._open(shared_memory, user)
                return
        self._open(fallback, user)

    @property
    def path(self) -> Path:
        return self._folder.path

    def read_state(self) -> str:
        """Return the worker's last state; raise OSError if it has written none."""
        return (self.path / STATE).read_text()

    def drain(self, seconds: float) -> None:
        """Tell the frontend and the worker to answer open requests within `seconds`."""
        self._draining.write(f"{time.monotonic() + seconds}\n")

    def close(self) -> None:
        """Remove the folder."""
        self._draining.close()
        self._folder.close()

    def _open(self, parent: Path, user: int | None) -> None:
        self._folder = LockedFolder(PREFIX, parent)
        try:
            self._prepare(user)
        except OSError:
            self._folder.close()
            raise

    def _prepare(self, user: int | None) -> None:
        gone = self.path / GONE
        gone.mkdir()
        # On a full disk, a folder gets no new blocks, so it can hold only as many names
        # as it has held before.
        names = [gone / str(uuid.uuid4()) for _ in range(NUM_GONE)]
        for name in names:
            name.touch()
        for name in names:
            name.unlink()
        state = StateFile(self.path / STATE)
        state.prepare()
        state.close()
        self._draining = StateFile(self.path / DRAINING)
        self._draining.prepare()
        if user is not None:
            # The worker and Java write these; they only read `draining`.
            for path in (gone, *state.files):
                os.chown(path, user, user)
            self._folder.give_to(user)


def _is_usable(folder: Path) -> bool:
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return False
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize >= MIN_FREE_BYTES
