"""What a transform job reads: which objects, and which records of them."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from deploy.emulator.backend import Backend, S3Uri

__all__ = ["InputError", "Item", "contents", "items_of", "payloads"]

SPOOL_BYTES = 8 * 1024 * 1024


class InputError(Exception):
    """The job, or one of its objects, cannot be read as the request says."""


@dataclass(frozen=True, slots=True)
class Item:
    """One input object, and what it is called in the output."""

    place: S3Uri
    name: str

    def __str__(self) -> str:
        return f"{self.place.bucket}/{self.place.key}"


def items_of(
    backend: Backend, region: str, source: Mapping[str, Any], *, naming: str
) -> list[Item]:
    """By key; raises InputError and DeployError."""
    try:
        place = S3Uri.of(source["S3Uri"])
    except ValueError as error:
        raise InputError(str(error)) from error
    if source["S3DataType"] == "ManifestFile":
        start, keys = _manifest(backend, region, place)
    else:
        start, keys = place, list(backend.keys(region, place))
    # What is below the prefix, where it is a folder; else the whole last part.
    folder = start.key.rpartition("/")[0]
    num_left_out = len(folder) + 1 if folder and naming == "relative" else 0
    return [
        Item(S3Uri(start.bucket, key), key[num_left_out:])
        for key in sorted(set(keys))
        # The console makes an empty object of every folder.
        if not key.endswith("/")
    ]


def _manifest(backend: Backend, region: str, place: S3Uri) -> tuple[S3Uri, list[str]]:
    """`[{"prefix": "s3://bucket/some/"}, "relative/key", ...]`."""
    file, _ = backend.open(region, place)
    try:
        first, *rest = json.loads(file.read())
        prefix = S3Uri.of(first["prefix"])
        if not all(isinstance(name, str) for name in rest):
            raise ValueError("a name is no string")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{place} is no manifest: {error}") from error
    return prefix, [prefix.key + name for name in rest]


def contents(file: IO[bytes], *, is_gzip: bool) -> IO[bytes]:
    """A file that can be rewound; raises InputError where it is no Gzip."""
    spooled = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
    try:
        if is_gzip:
            with gzip.GzipFile(fileobj=file) as unpacked:
                shutil.copyfileobj(unpacked, spooled)
        else:
            shutil.copyfileobj(file, spooled)
    except (gzip.BadGzipFile, EOFError) as error:
        spooled.close()
        raise InputError(f"it is not compressed with Gzip: {error}") from error
    spooled.seek(0)
    return spooled


def payloads(
    file: IO[bytes], *, max_bytes: int | None, is_packed: bool, keeps_newlines: bool
) -> Iterator[bytes]:
    """A line each, or as many whole lines as `max_bytes` allow.

    Raises InputError for a line that is too long by itself.
    """
    packed: list[bytes] = []
    size = 0
    for line in file:
        if not line.strip(b"\r\n"):
            continue
        record = line if keeps_newlines else line.rstrip(b"\r\n")
        if max_bytes is not None and len(record) > max_bytes:
            raise InputError("Too much data for max payload size")
        if not is_packed:
            yield record
            continue
        gap = b"" if keeps_newlines or not packed else b"\n"
        if max_bytes is not None and size + len(gap) + len(record) > max_bytes:
            yield b"".join(packed)
            packed, size, gap = [], 0, b""
        packed += [gap, record]
        size += len(gap) + len(record)
    if packed:
        yield b"".join(packed)
