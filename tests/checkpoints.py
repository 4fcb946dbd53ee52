"""Files of small and of incomplete checkpoints."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handler.weights.manifest import MANIFEST
from handler.weights.source import MINI


def tensor_file(*names: str, size: int, fill: int = 0) -> bytes:
    """Return a safetensors file whose named U8 tensors share `size` bytes."""
    room = 100 + 80 * len(names)
    places, start = {}, 0
    share = (size - 8 - room) // len(names)
    for number, name in enumerate(names, 1):
        end = size - 8 - room if number == len(names) else start + share
        places[name] = {
            "dtype": "U8",
            "shape": [end - start],
            "data_offsets": [start, end],
        }
        start = end
    header = json.dumps(places).encode().ljust(room)
    assert len(header) == room
    return struct.pack("<Q", room) + header + bytes([fill]) * start


def index_of(files: Mapping[str, str]) -> bytes:
    """Return a model.safetensors.index.json with the file of each tensor."""
    return json.dumps({"metadata": {}, "weight_map": dict(files)}).encode()


def mini_with(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy `mini` without its manifest, with tensors modified by `change`."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(MINI, folder, ignore=shutil.ignore_patterns(MANIFEST))
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
