"""Restriction of the files and TCP ports that a process may open, with Linux Landlock.

The module uses raw system calls, because glibc has no wrappers for them. Files that are
already open stay usable, and so do descriptors that are received over a socket.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

__all__ = ["restrict_files", "supported_version"]

# The numbers of these system calls are equal on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

_READ_FILE, _READ_DIRECTORY = 1 << 2, 1 << 3
_NUM_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""Number of file access rights, one bit each, as of each version of Landlock."""
_TCP_RIGHTS = 0b11  # bind and connect, since version 4
_SCOPES = 0b11  # abstract sockets and signals of other processes, since version 6


def supported_version() -> int:
    """Return the version of Landlock that the kernel supports; 0 if it has none."""
    return max(0, _call(_CREATE_RULESET, 0, 0, _VERSION))


def restrict_files(readable: Iterable[Path]) -> bool:
    """Deny TCP, and all access to files except reading the paths in `readable`.

    The restriction is permanent and requires PR_SET_NO_NEW_PRIVS. Paths that do not
    exist are ignored. Returns False if the kernel does not support it.
    """
    version = supported_version()
    if version == 0:
        return False
    files = (
        1 << max(num for since, num in _NUM_FILE_RIGHTS.items() if since <= version)
    ) - 1
    attributes = struct.pack("=Q", files)
    if version >= 4:
        attributes += struct.pack("=Q", _TCP_RIGHTS)
    if version >= 6:
        attributes += struct.pack("=Q", _SCOPES)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = _call(_CREATE_RULESET, ctypes.addressof(buffer), len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow_reading(ruleset, path)
        return _call(_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, path: Path) -> None:
    """Add a rule for a file, or a folder and all below it; ignore a missing path."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        access = _READ_FILE | (_READ_DIRECTORY if path.is_dir() else 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, descriptor), 12)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: int) -> int:
    """Make a system call and return its result, which is -1 if it failed."""
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(
        ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments)
    )
    return result
