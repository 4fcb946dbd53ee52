"""Memory of the container or machine, and the memory limits of its processes."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["decoder_limit_bytes", "memory_limit_bytes", "writer_limit_bytes"]

_CGROUP_FILES = (
    "sys/fs/cgroup/memory.max",  # version 2
    "sys/fs/cgroup/memory/memory.limit_in_bytes",  # version 1
)

_MIB = 1024**2


def memory_limit_bytes(root: Path = Path("/")) -> int:
    """Return the smaller of the machine's memory and the container's limit, in bytes.

    `root` is the folder that contains /proc and /sys.
    """
    total = re.search(
        r"^MemTotal:\s+(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE
    )
    assert total is not None
    limits = [int(total.group(1)) * 1024]
    for name in _CGROUP_FILES:
        try:
            limits.append(int((root / name).read_text()))
        except (OSError, ValueError):  # not mounted, or "max"
            continue
    return min(limits)


def decoder_limit_bytes(
    memory_bytes: int, num_decoders: int, max_document_bytes: int
) -> int:
    """Return the limit for the address space of each decoder, in bytes.

    Decoders share half of the memory; each gets at least 512 MiB and at most 4 GiB.
    The size of the largest document is added, because a decoder maps it.
    """
    share = memory_bytes // 2 // num_decoders
    return min(max(share, 512 * _MIB), 4096 * _MIB) + max_document_bytes


def writer_limit_bytes(memory_bytes: int, num_writers: int) -> int:
    """Return the limit for the address space of each writer, in bytes.

    Writers share an eighth of the memory; each gets at least 512 MiB and at most
    2 GiB.
    """
    share = memory_bytes // 8 // num_writers
    return min(max(share, 512 * _MIB), 2048 * _MIB)
