"""The Java that TorchServe is, with the classes that come before its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from server.archive import ROOT, ts_home

__all__ = ["command_of"]

NETTY = ROOT / "build" / "netty"
"""Jars of a netty that is looked after, where somebody has put some."""
PLUGIN_MAIN = "chandra.frontend.Server"
"""TorchServe, with the plugin's hands on what comes in."""


def command_of(
    java_home: Path,
    config: Path,
    properties: Mapping[str, str],
    scratch: Path,
    plugin: Path | None,
) -> list[str | Path]:
    """What `torchserve --start --foreground --ncs` runs, of the config at a path.

    Java itself, so that its end and its exit status are seen.
    """
    jars = [ts_home() / "ts" / "frontend" / "*"]
    if NETTY.is_dir():
        # Before TorchServe's own, so that its classes are the ones that are found.
        jars.insert(0, NETTY / "*")
    if plugin is not None:
        jars.append(plugin / "*")
    log4j2 = ROOT / "server" / "log4j2.xml"
    return [
        java_home / "bin" / "java",
        f"-Dmodel_server_home={ts_home()}",
        f"-Dlog4j.configurationFile={log4j2.as_uri()}",
        f"-Djava.io.tmpdir={scratch}",
        *properties.get("vmargs", "").split(),
        *("-cp", ":".join(map(str, jars))),
        "org.pytorch.serve.ModelServer" if plugin is None else PLUGIN_MAIN,
        *("--python", sys.executable),
        *("-f", config),
        *("-s", properties["model_store"]),
        "-ncs",
    ]
