"""Output of benchmarks: text lines, and a last line of JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["describe_commit", "finish", "say"]

_REPOSITORY = Path(__file__).parents[1]


def say(text: str = "") -> None:
    """Print a line without buffering."""
    print(text, flush=True)


def finish(bench: str, ratios: Mapping[str, float], **details: object) -> None:
    """Print the last line: ratios, details, machine and commit as JSON."""
    result = {
        "bench": bench,
        "ratios": dict(ratios),
        **details,
        "machine": _machine(),
        "commit": describe_commit(),
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


def describe_commit() -> str | None:
    """Return the commit that is checked out; None without git."""
    try:
        completed = subprocess.run(
            ("git", "describe", "--always", "--dirty", "--exclude=*"),
            cwd=_REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return completed.stdout.strip()
