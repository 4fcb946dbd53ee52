"""Irrevocable restriction of a process's rights before it reads client data.

All measures that the kernel and the container support are applied. A measure that is
missing is reported and does not stop the process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handler.sandbox import landlock, seccomp

__all__ = ["Confinement", "confine", "current_confinement", "filter_environment"]

_PR_SET_NO_NEW_PRIVS = 38
_MAX_OPEN_FILES = 64

_PACKAGE = Path(__file__).resolve().parent.parent

# Code, time zones and fonts that imports and pdfium read. /proc is not among them,
# because it exposes the files and environments of other processes.
_READABLE = (
    Path("/lib"),
    Path("/lib64"),
    Path("/usr/lib"),
    Path("/usr/lib64"),
    Path("/usr/share"),
    Path("/usr/local/share/fonts"),
    Path("/etc/fonts"),
    Path("/etc/ld.so.cache"),
    Path("/etc/localtime"),
    Path("/dev/null"),
    Path("/dev/urandom"),
)

_KEPT_NAMES = frozenset(
    {
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "MALLOC_ARENA_MAX",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "PYTHONUTF8",
        "TMPDIR",
        "TZ",
    }
)
_KEPT_PREFIXES = ("LC_", "GOMP_", "OMP_", "OPENBLAS_")


@dataclass(frozen=True, slots=True)
class Confinement:
    """The measures that are in effect for a process."""

    has_no_new_privileges: bool = False
    landlock: int = 0
    """Version of Landlock, or 0 without it. The filter then denies opening any file."""
    has_system_call_filter: bool = False
    memory_bytes: int | None = None
    """Limit on the address space; None if there is none."""


_active = Confinement()


def filter_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a confined process.

    It has the variables on an allow-list, which excludes secrets such as credentials,
    and limits OpenBLAS to one thread.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)
    }
    # Otherwise numpy's OpenBLAS reserves 40 MiB of address space per core.
    return {**kept, "OPENBLAS_NUM_THREADS": "1"}


def confine(memory_bytes: int | None) -> Confinement:
    """Drop all rights of this process that are not needed to read a document.

    This cannot be undone. It also redirects standard output and error to /dev/null.
    Returns the measures that are in effect; missing ones raise no error. `memory_bytes`
    limits the address space; None leaves it unchanged. Without Landlock no file can be
    opened afterwards, so all modules must be imported before.
    """
    global _active
    _discard_output()
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_FSIZE, 0)
    _set_limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    libc = ctypes.CDLL(None, use_errno=True)
    has_no_new_privileges = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    folders = (_PACKAGE, *map(Path, {sys.prefix, sys.base_prefix, sys.exec_prefix}))
    has_landlock = landlock.restrict_files((*folders, *_READABLE))
    if memory_bytes is not None:
        _set_limit(resource.RLIMIT_AS, memory_bytes)
    # The filter is installed last, because it denies the system calls used above.
    has_filter = seccomp.deny_system_calls(may_open_files=has_landlock)
    version = landlock.supported_version() if has_landlock else 0
    _active = Confinement(has_no_new_privileges, version, has_filter, memory_bytes)
    return _active


def current_confinement() -> Confinement:
    """Return the measures in effect for the calling process; none before `confine`."""
    return _active


def _discard_output() -> None:
    """Redirect standard output and standard error to /dev/null.

    TorchServe parses the worker's output for metrics and for its process id, so
    untrusted input must not control it.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _set_limit(kind: int, value: int) -> None:
    """Set a soft and a hard resource limit, at most the current hard limit."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))
