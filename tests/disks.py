"""A disk of a few megabytes that a test may fill."""

from __future__ import annotations

import errno
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["fill", "small_disk"]


@contextmanager
def small_disk(num_megabytes: int) -> Iterator[Path]:
    """Mount a file system of this size, or skip the test where that is not allowed.

    Not below the test's own folder: the path of a socket has 107 letters at most.
    """
    folder = Path(tempfile.mkdtemp(prefix="disk-"))
    options = f"size={num_megabytes}m"
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        folder.rmdir()
        pytest.skip("this machine does not allow to mount a file system")
    try:
        yield folder
    finally:
        # Unmount lazily, because a process that is just ending may have a file open.
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def fill(folder: Path) -> None:
    """Write until there is no room for another byte."""
    with (folder / "filling").open("wb", buffering=0) as file:
        for size in (1024**2, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
