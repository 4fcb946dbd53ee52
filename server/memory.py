"""How much memory this container, or this machine, may use."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["memory_limit_bytes"]

_LIMITS = (
    "sys/fs/cgroup/memory.max",  # version 2
    "sys/fs/cgroup/memory/memory.limit_in_bytes",  # version 1
)


def memory_limit_bytes(root: Path = Path("/")) -> int:
    """The smaller of the machine's memory and the container's limit."""
    found = re.search(
        r"^MemTotal:\s+(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE
    )
    assert found is not None
    limits = [int(found.group(1)) * 1024]
    for name in _LIMITS:
        try:
            limits.append(int((root / name).read_text()))
        except (OSError, ValueError):  # not mounted, or "max"
            continue
    return min(limits)
