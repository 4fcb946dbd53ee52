"""Jar with our classes for TorchServe's frontend, and its build.

The repository and the package hold the jar, so a server needs a JRE and no compiler.
`python -m server.plugin` builds it from frontend/. The build is reproducible: every
javac of one major version gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from server.archive import ROOT, find_ts_home
from server.console import say
from server.java import JavaNotFoundError, find_java_home

__all__ = [
    "BUILD_INFO",
    "JAR",
    "SOURCES",
    "PluginError",
    "build_plugin",
    "compute_sources_digest",
    "find_compiler",
    "find_plugin",
    "read_build_info",
    "read_javac_version",
]

SOURCES = ROOT / "frontend"
JAR = Path(__file__).resolve().parent / "jar" / "chandra-frontend.jar"
BUILD_INFO = "META-INF/chandra-build.properties"
"""Entry of the jar with `sources_sha256` and the major version of `javac`."""
# The earliest time that a zip file can represent.
_EPOCH = (1980, 1, 1, 0, 0, 0)


class PluginError(Exception):
    """The plugin's jar is missing, or cannot be built."""


def find_plugin() -> Path:
    """Return the folder with the plugin's jar; raise PluginError if it is missing."""
    if not JAR.is_file():
        raise PluginError(f"{JAR} is missing: build it with python -m server.plugin")
    return JAR.parent


def find_compiler() -> Path:
    """Return javac's path, beside `java` or on the PATH; raise PluginError if none."""
    try:
        compiler = find_java_home(os.environ) / "bin" / "javac"
        if compiler.is_file():
            return compiler
    except JavaNotFoundError:
        pass
    on_path = shutil.which("javac")
    if on_path is None:
        raise PluginError("no javac was found: building the frontend's jar needs a JDK")
    return Path(on_path)


def read_javac_version(compiler: Path) -> int:
    """Run a compiler to get its major version, such as 17.

    Raise PluginError if it prints none.
    """
    result = subprocess.run(
        [compiler, "-version"], check=False, capture_output=True, text=True
    )
    match = re.search(r"javac (\d+)", result.stdout + result.stderr)
    if match is None:
        raise PluginError(f"{compiler} -version prints no version")
    return int(match.group(1))


def compute_sources_digest(sources: Path = SOURCES) -> str:
    """Return a SHA-256 over names and bytes of all files that go into the jar."""
    digest = hashlib.sha256()
    for file in _list_jar_inputs(sources):
        content = file.read_bytes()
        name = file.relative_to(sources).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def read_build_info(jar: Path = JAR) -> dict[str, str]:
    """Return the build information of a jar: `sources_sha256` and `javac`."""
    with zipfile.ZipFile(jar) as archive:
        lines = archive.read(BUILD_INFO).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def build_plugin(jar: Path = JAR, *, sources: Path = SOURCES) -> None:
    """Compile the sources into a jar, and replace the old jar atomically.

    The result depends only on the sources, TorchServe's jar and javac's major version.
    Raise PluginError with the compiler's messages if it rejects a source.
    """
    compiler = find_compiler()
    info = {
        "sources_sha256": compute_sources_digest(sources),
        "javac": str(read_javac_version(compiler)),
    }
    with tempfile.TemporaryDirectory(prefix="chandra-plugin-") as scratch:
        classes = Path(scratch, "classes")
        result = subprocess.run(
            [
                compiler,
                *("--release", "11", "-encoding", "UTF-8", "-proc:none"),
                *("-Xlint:all", "-Werror"),
                # Stack traces get names of files and line numbers, but no paths.
                "-g:source,lines",
                *("-cp", find_ts_home() / "ts" / "frontend" / "model-server.jar"),
                *("-d", classes),
                *(file for file in _list_jar_inputs(sources) if file.suffix == ".java"),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if result.returncode != 0:
            raise PluginError(f"javac rejects {sources}: {result.stderr.strip()}")
        lines = "".join(f"{key}={value}\n" for key, value in info.items())
        entries = {BUILD_INFO: lines.encode()}
        for root in (classes, sources):
            for file in filter(Path.is_file, root.rglob("*")):
                name = file.relative_to(root).as_posix()
                if file.suffix == ".class" or name.startswith("META-INF/"):
                    entries[name] = file.read_bytes()
        built = Path(scratch, jar.name)
        with zipfile.ZipFile(built, "w") as archive:
            for name in sorted(entries):
                # Store without compression, whose bytes differ between zlib versions.
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                archive.writestr(entry, entries[name])
        jar.parent.mkdir(parents=True, exist_ok=True)
        # Write a temporary file first, because a server may be reading the old jar.
        partial = jar.with_name(f".{Path(scratch).name}")
        shutil.copyfile(built, partial)
        partial.replace(jar)


def _list_jar_inputs(sources: Path) -> Iterator[Path]:
    """Yield the files that go into the jar, sorted by name."""
    files = [file for file in sources.rglob("*") if file.is_file()]
    for file in sorted(files, key=lambda file: file.relative_to(sources).as_posix()):
        name = file.relative_to(sources).as_posix()
        if file.suffix == ".java" or name.startswith("META-INF/"):
            yield file


if __name__ == "__main__":
    try:
        build_plugin()
    except PluginError as error:
        say(f"error: {error}")
        sys.exit(1)
    say(f"wrote {JAR}")
