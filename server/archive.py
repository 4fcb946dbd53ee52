"""The model archive, built with torch-model-archiver.

The archive holds only `service.py` and model-config.yaml. The package is installed
where TorchServe runs, and weights are too large for a zip file.
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
    "find_ts_home",
    "read_handler_table",
]

MODEL_NAME = "chandra"
ROOT = Path(__file__).resolve().parent.parent
MODEL_CONFIG = ROOT / "model-store" / "model-config.yaml"


class ArchiveError(Exception):
    """The archive could not be built."""


def build_archive(store: Path, config: Path = MODEL_CONFIG) -> Path:
    """Write `chandra.mar` into `store`, replacing an old one, and return its path.

    Create `store` if it is missing. Raise ArchiveError if torch-model-archiver fails.
    """
    store.mkdir(parents=True, exist_ok=True)
    # The archiver deletes the temporary directory's subfolder with the model's name, so
    # two builds at once would disturb each other there.
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
    """Copy the archive into `store` with changed values in its model-config.yaml.

    TorchServe reads its timeouts only from that file. Return the path of the copy.
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


def read_handler_table(archive: Path) -> Mapping[str, object]:
    """Return the handler's settings in an archive.

    The result is empty if the archive is unreadable or has no such settings.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            table = yaml.safe_load(source.read(MODEL_CONFIG.name))
    except (OSError, KeyError, zipfile.BadZipFile, yaml.YAMLError):
        return {}
    handler_table = table.get("handler") if isinstance(table, dict) else None
    return handler_table if isinstance(handler_table, dict) else {}


def find_ts_home() -> Path:
    """Return the folder in which TorchServe is installed.

    Its spec is looked up without importing it, because that would import torch. Raise
    ArchiveError if TorchServe is not installed.
    """
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        raise ArchiveError("torchserve is not installed")
    return Path(spec.origin).parent.parent
