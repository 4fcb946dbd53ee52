"""A request's document in an open file that is passed to other processes."""

from __future__ import annotations

import errno
import logging
import os
import tempfile

from handler.errors import OverloadedError
from handler.logs import OUT_OF_DESCRIPTORS, is_out_of_descriptors
from handler.sandbox.wire import Descriptor

__all__ = ["Spool"]

logger = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Spool:
    """A file without a name, which other processes get as `read_only`.

    It is gone when it is closed, or when this process ends in whatever way. Raises
    OverloadedError where the disk is full, or no file can be opened.
    """

    def __init__(self, content: bytes | bytearray | memoryview = b"") -> None:
        # Without a buffer: the content would lie in memory once more.
        try:
            self._file = tempfile.TemporaryFile(prefix="chandra-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _why(error, len(content)) from error
        try:
            # Open it again: a duplicate of the first descriptor could write as well.
            opened = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self._read_only: Descriptor | None = Descriptor(opened)
        except OSError as error:
            self._file.close()
            raise _why(error, len(content)) from error
        try:
            self.write(content)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The file's name for this process; confined ones cannot open it."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    @property
    def descriptor(self) -> int:
        """The open file, for whoever writes into it."""
        return self._file.fileno()

    @property
    def read_only(self) -> Descriptor:
        """The file, opened for reading only, for other processes."""
        assert self._read_only is not None
        return self._read_only

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.descriptor).st_size

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Append `content`."""
        try:
            view = memoryview(content)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _why(error, len(content)) from error

    def reserve(self, num_bytes: int) -> None:
        """Make it so large, and take the room for it now and not when it is needed."""
        try:
            os.posix_fallocate(self.descriptor, 0, num_bytes)
        except OSError as error:
            raise _why(error, num_bytes) from error

    def close(self) -> None:
        if self._read_only is not None:
            os.close(self._read_only)
            self._read_only = None
        self._file.close()


def _why(error: OSError, num_bytes: int) -> Exception:
    if error.errno in _FULL:
        return OverloadedError(
            f"there is no room on the disk for a document of {num_bytes:,} bytes now"
        )
    if is_out_of_descriptors(error):
        logger.error(OUT_OF_DESCRIPTORS, exc_info=error)
        return OverloadedError("the server has too many files open for another one now")
    return error
