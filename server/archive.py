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
from pathlib import Path

import handler

__all__ = ["MODEL_NAME", "ArchiveError", "build_archive"]

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
