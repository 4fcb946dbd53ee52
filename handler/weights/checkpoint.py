"""Check of the files of a checkpoint before its weights are read.

A safetensors file begins with eight bytes that hold the length of a JSON header. The
header gives the type, shape and position of every tensor; the tensors follow it without
gaps (https://huggingface.co/docs/safetensors). So the header and the file's size show
whether the file is complete, and only some kilobytes are read.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handler.errors import ModelLoadError
from handler.weights.manifest import MANIFEST, is_model_file, parse_manifest

__all__ = ["check_checkpoint", "read_header", "read_tensor_names"]

SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library."""
LENGTH_BYTES = 8
LFS_POINTER = b"version https://git-lfs"
REMEDY = "copy or stage the weights again"
ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes of one number of each type. Tensors of other types are not checked for size."""


def check_checkpoint(folder: Path) -> None:
    """Check sizes and headers of the files that hold the model in `folder`.

    If the folder has a `chandra-manifest.json`, its files must have the sizes given
    there. Raises ModelLoadError with the file's name and what to do.
    """
    _check_sizes(folder)
    file_names: dict[str, str] = {}
    for name, index in _list_files(folder).items():
        header = read_header(folder / name)
        for tensor in header:
            if tensor in file_names:
                raise ModelLoadError(
                    f"{folder} has the tensor {tensor} in {file_names[tensor]} and in "
                    f"{name}: remove the file that belongs to another checkpoint, or "
                    f"{REMEDY}"
                )
            file_names[tensor] = name
        if missing := sorted(index - header.keys()):
            raise ModelLoadError(
                f"{folder / name} does not hold {missing[0]}, which {INDEX} assigns "
                f"to it: {REMEDY}"
            )


def read_tensor_names(folder: Path) -> list[str]:
    """Return the names of all tensors that the files in `folder` hold.

    Raises ModelLoadError if a file cannot be read or is invalid.
    """
    return [n for file in _list_files(folder) for n in read_header(folder / file)]


def read_header(path: Path) -> Mapping[str, Any]:
    """Return the tensors of a safetensors file by name, as its header describes them.

    Raises ModelLoadError if the header is invalid or does not fit the file's size.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(LENGTH_BYTES)
            if not start:
                raise ModelLoadError(
                    f"{path} is empty (0 bytes): a copy of it failed, often on a full "
                    f"disk; {REMEDY}"
                )
            if LFS_POINTER.startswith(start):
                raise ModelLoadError(
                    f"{path} is a Git LFS pointer instead of the file: run git lfs pull"
                )
            length = struct.unpack("<Q", start.ljust(LENGTH_BYTES, b"\0"))[0]
            if length > MAX_HEADER_BYTES:
                raise ModelLoadError(
                    f"{path} is not a safetensors file: its first bytes give a header "
                    f"of {length:,} bytes; {REMEDY}"
                )
            if LENGTH_BYTES + length > size:
                raise ModelLoadError(
                    f"{path} ends inside its header, after {size:,} of "
                    f"{LENGTH_BYTES + length:,} bytes: {REMEDY}"
                )
            content = file.read(length)
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error}") from error
    try:
        header = json.loads(content)
        header.pop("__metadata__", None)
        num_bytes = _check_offsets(header)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelLoadError(
            f"{path} has a corrupt header ({error}): {REMEDY}"
        ) from error
    num_expected = LENGTH_BYTES + length + num_bytes
    if size < num_expected:
        raise ModelLoadError(
            f"{path} is truncated: it has {size:,} of {num_expected:,} bytes; {REMEDY}"
        )
    if size > num_expected:
        raise ModelLoadError(
            f"{path} has {size:,} bytes, but its header describes {num_expected:,}: "
            f"{REMEDY}"
        )
    return header  # type: ignore[no-any-return]


def _check_sizes(folder: Path) -> None:
    """Raise ModelLoadError if a model file differs from the manifest in the folder.

    Does nothing without a manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error}") from error
    for entry in parse_manifest(content, str(path))["files"]:
        name, size = entry["name"], entry["size"]
        # Only model files must be present; documentation in the manifest need not be.
        if "/" in name or not is_model_file(name):
            continue
        file = folder / name
        if not file.is_file():
            raise ModelLoadError(
                f"{file} is missing, but {MANIFEST} names it: {REMEDY}"
            )
        if (num_bytes := file.stat().st_size) != size:
            raise ModelLoadError(
                f"{file} has {num_bytes:,} bytes, but {MANIFEST} lists {size:,}: "
                f"{REMEDY}, or remove the manifest if the change is yours"
            )


def _list_files(folder: Path) -> Mapping[str, frozenset[str]]:
    """Return the files that transformers loads, with their tensors in the index.

    A single file has no index, and therefore an empty set. Raises ModelLoadError if
    files are missing or the index is invalid.
    """
    if (folder / SINGLE_FILE).is_file():
        return {SINGLE_FILE: frozenset()}
    path = folder / INDEX
    if not path.is_file():
        raise ModelLoadError(
            f"{folder} holds neither {SINGLE_FILE} nor {INDEX}, so it is unknown which "
            f"of its files belong to the model: {REMEDY}"
        )
    try:
        table = json.loads(path.read_text("utf-8"))["weight_map"]
        shards: dict[str, set[str]] = {}
        for tensor, shard in table.items():
            shards.setdefault(os.fspath(shard), set()).add(tensor)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(f"{path} has no readable weight_map: {REMEDY}") from error
    if not shards:
        raise ModelLoadError(f"{path} names no file: {REMEDY}")
    missing = [name for name in sorted(shards) if not (folder / name).is_file()]
    if missing:
        raise ModelLoadError(
            f"{path} names {missing[0]}, which does not exist ({len(missing)} of "
            f"{len(shards)} files are missing): {REMEDY}"
        )
    return {name: frozenset(shards[name]) for name in sorted(shards)}


def _check_offsets(header: Mapping[str, Any]) -> int:
    """Return the total size of all tensors in bytes.

    Raises ValueError for gaps and overlaps between tensors, and for sizes that do not
    match a tensor's shape.
    """
    end = 0
    ranges = sorted((*info["data_offsets"], name) for name, info in header.items())
    for start, stop, name in ranges:
        info = header[name]
        if start != end or stop < start:
            raise ValueError(f"{name} does not begin where the tensor before it ends")
        item_bytes = ITEM_BYTES.get(info["dtype"])
        num_items = math.prod(info["shape"])
        if item_bytes is not None and num_items * item_bytes != stop - start:
            raise ValueError(
                f"the size of {name} does not match its shape {info['shape']}"
            )
        end = stop
    return end
