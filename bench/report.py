"""What a benchmark says to a person, and in its last line to a program."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["commit", "finish", "say"]

_REPOSITORY = Path(__file__).parents[1]


def say(text: str = "") -> None:
    """Print a line, at once."""
    print(text, flush=True)


def finish(bench: str, ratios: Mapping[str, float], **details: object) -> None:
    """Print the last line: what was measured, where, and of which commit."""
    result = {
        "bench": bench,
        "ratios": dict(ratios),
        **details,
        "machine": _machine(),
        "commit": commit(),
    }
    say(json.dumps(result))


def _machine() -> str:
    cores = f"{os.cpu_count()} cores"
    return ", ".join(filter(None, (platform.machine(), cores, _processor())))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return next(names, "").strip()


def commit() -> str | None:
    """The commit that is checked out; None where there is no git."""
    try:
        found = subprocess.run(
            ("git", "describe", "--always", "--dirty", "--exclude=*"),
            cwd=_REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
