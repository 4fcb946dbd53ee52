"""Environment with a Java runtime but no compiler."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from server.java import find_java_home

__all__ = ["create_jre"]


def create_jre(folder: Path) -> dict[str, str]:
    """Create a JRE in `folder`, and return JAVA_HOME and a PATH with only this JRE."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    home = find_java_home(os.environ)
    (programs / "java").symlink_to(home / "bin" / "java")
    shutil.copy(home / "release", folder)
    environ = {"JAVA_HOME": str(folder), "PATH": str(programs)}
    assert shutil.which("javac", path=environ["PATH"]) is None
    return environ
