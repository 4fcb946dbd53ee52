"""Buries processes whose parent died: they fall to a container's first process."""

from __future__ import annotations

import os
from collections.abc import Collection

__all__ = ["bury_orphans"]


def bury_orphans(own: Collection[int]) -> None:
    """Wait for every child that has ended, but for those somebody else waits for."""
    while True:
        try:
            # Looked at first: the status of our own is for whoever started it.
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in own:
            return
        os.waitpid(found.si_pid, os.WNOHANG)
