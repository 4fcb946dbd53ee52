"""Disk of a few megabytes that a test may fill."""

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
    """Mount a file system of this size, or skip the test if that is not allowed.

    It is outside of `tmp_path`, because the path of a socket has at most 107 bytes.
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
        # Unmount lazily, because an ending process may still have an open file.
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def fill(folder: Path) -> None:
    """Write until the disk is full."""
    with (folder / "filling").open("wb", buffering=0) as file:
        for size in (1024**2, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
