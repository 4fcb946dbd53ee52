"""Whom the server runs as: somebody without rights, where that can be had."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["can_hand_over", "unreadable"]

# Numbers of CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID and CAP_SETUID: to give
# files away, to write beside them, and to end what runs as somebody else.
_NEEDED = (0, 1, 5, 6, 7)


def can_hand_over(status: str | None = None) -> bool:
    """Whether this process may start others as somebody else, and end them.

    Root may not, in a container without capabilities.
    """
    text = Path("/proc/self/status").read_text() if status is None else status
    uid = re.search(r"^Uid:\s+\d+\s+(\d+)", text, re.MULTILINE)
    effective = re.search(r"^CapEff:\s+([0-9a-f]+)", text, re.MULTILINE)
    if uid is None or effective is None or int(uid.group(1)) != 0:
        return False
    return all(int(effective.group(1), 16) >> number & 1 for number in _NEEDED)


def unreadable(folder: Path, user: int) -> Path | None:
    """The first thing in `folder` that `user` could not read; None where all can be."""
    if not folder.exists():
        return None
    for path in (folder, *_below(folder)):
        status = path.stat()
        needed = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
        if status.st_uid != user and status.st_mode & needed != needed:
            return path
    return None


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(root, name)).exists():  # a dangling link is no weight
                yield path
