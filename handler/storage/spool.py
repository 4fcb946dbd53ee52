"""Temporary file with the document of a request, which other processes can read."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Callable

from handler.errors import OverloadedError
from handler.logs import OUT_OF_DESCRIPTORS, is_out_of_descriptors
from handler.sandbox.wire import Descriptor

__all__ = ["Spool"]

logger = logging.getLogger(__name__)

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Spool:
    """File without a name, whose descriptor `read_only` is passed to other processes.

    The kernel deletes the file when it is closed or when this process ends. Raises
    OverloadedError if the disk is full or no file can be opened. `allocate` allocates
    disk space, and takes the arguments of `os.posix_fallocate`.
    """

    def __init__(
        self,
        content: bytes | bytearray | memoryview = b"",
        *,
        allocate: Callable[[int, int, int], None] = os.posix_fallocate,
    ) -> None:
        self._allocate = allocate
        # Without buffering, which would copy the content in memory once more.
        try:
            self._file = tempfile.TemporaryFile(prefix="chandra-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _translate_error(error, len(content)) from error
        try:
            # Open the file again, because a duplicated descriptor could write as well.
            opened = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self._read_only: Descriptor | None = Descriptor(opened)
        except OSError as error:
            self._file.close()
            raise _translate_error(error, len(content)) from error
        try:
            self.write(content)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """Path of the file for this process; confined processes cannot open it."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    @property
    def descriptor(self) -> int:
        """Descriptor for reading and writing, for this process."""
        return self._file.fileno()

    @property
    def read_only(self) -> Descriptor:
        """Descriptor for reading only, for other processes."""
        assert self._read_only is not None
        return self._read_only

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return os.fstat(self.descriptor).st_size

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Append `content`; raise OverloadedError if the disk is full."""
        try:
            view = memoryview(content)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _translate_error(error, len(content)) from error

    def reserve(self, num_bytes: int) -> None:
        """Set the size of the file and allocate its disk space now.

        Raises OverloadedError if the disk is too full.
        """
        try:
            self._allocate(self.descriptor, 0, num_bytes)
        except OSError as error:
            raise _translate_error(error, num_bytes) from error

    def close(self) -> None:
        """Close both descriptors, which deletes the file; a second call is harmless."""
        if self._read_only is not None:
            os.close(self._read_only)
            self._read_only = None
        self._file.close()


def _translate_error(error: OSError, num_bytes: int) -> Exception:
    """Return an OverloadedError for a shortage, or the error itself for another one.

    A lack of file descriptors is also logged.
    """
    if error.errno in _DISK_FULL:
        return OverloadedError(
            f"the disk has too little space for a document of {num_bytes:,} bytes now"
        )
    if is_out_of_descriptors(error):
        logger.error(OUT_OF_DESCRIPTORS, exc_info=error)
        return OverloadedError("the server has too many files open for another one now")
    return error
