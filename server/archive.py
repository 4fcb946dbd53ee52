"""Builds the model archive with torch-model-archiver.

The archive carries `service.py` and model-config.yaml and nothing else: the
package is installed where TorchServe runs, and the weights never pass through a
zip file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import yaml

import handler

__all__ = [
    "MODEL_NAME",
    "ROOT",
    "ArchiveError",
    "build_archive",
    "configure_archive",
    "handler_table",
    "ts_home",
]

MODEL_NAME = "chandra"
ROOT = Path(__file__).resolve().parent.parent
MODEL_CONFIG = ROOT / "model-store" / "model-config.yaml"


class ArchiveError(Exception):
    """torch-model-archiver did not write the archive."""


def build_archive(store: Path, config: Path = MODEL_CONFIG) -> Path:
    """Write `chandra.mar` into `store` and return its path."""
    store.mkdir(parents=True, exist_ok=True)
    # The archiver deletes the folder of the model's name in the temporary directory.
    with tempfile.TemporaryDirectory(prefix="chandra-archive-") as scratch:
        result = subprocess.run(
            [
                Path(sys.executable).with_name("torch-model-archiver"),
                *("--model-name", MODEL_NAME),
                *("--version", handler.__version__),
                *("--handler", ROOT / "handler" / "service.py"),
                *("--config-file", config),
                *("--export-path", store),
                "--force",
            ],
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"TMPDIR": scratch},
        )
    if result.returncode != 0:
        raise ArchiveError(f"torch-model-archiver failed: {result.stderr.strip()}")
    return store / f"{MODEL_NAME}.mar"


def configure_archive(archive: Path, store: Path, keys: Mapping[str, object]) -> Path:
    """Write the archive into `store`, with other values in its model-config.yaml.

    TorchServe reads its timeouts from there and nowhere else.
    """
    configured = store / archive.name
    with (
        zipfile.ZipFile(archive) as source,
        zipfile.ZipFile(configured, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name == MODEL_CONFIG.name:
                table = yaml.safe_load(content) | dict(keys)
                content = yaml.safe_dump(table, sort_keys=False).encode()
            target.writestr(name, content)
    return configured


def handler_table(archive: Path) -> Mapping[str, object]:
    """The handler's settings in an archive; none where it is no archive of ours."""
    try:
        with zipfile.ZipFile(archive) as source:
            table = yaml.safe_load(source.read(MODEL_CONFIG.name))
    except (OSError, KeyError, zipfile.BadZipFile, yaml.YAMLError):
        return {}
    found = table.get("handler") if isinstance(table, dict) else None
    return found if isinstance(found, dict) else {}


def ts_home() -> Path:
    """Where TorchServe is installed; importing it would import torch."""
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        raise ArchiveError("torchserve is not installed")
    return Path(spec.origin).parent.parent
