"""Input of a transform job: its objects, and the records in them."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from deploy.emulator.backend import Backend, S3Uri

__all__ = [
    "InputError",
    "InputObject",
    "list_input_objects",
    "open_input",
    "split_payloads",
]

SPOOL_BYTES = 8 * 1024 * 1024


class InputError(Exception):
    """The input of a job, or one of its objects, is not as the request describes."""


@dataclass(frozen=True, slots=True)
class InputObject:
    """Input object of a job, with the name of its output."""

    uri: S3Uri
    name: str

    def __str__(self) -> str:
        return f"{self.uri.bucket}/{self.uri.key}"


def list_input_objects(
    backend: Backend, region: str, source: Mapping[str, Any], *, naming: str
) -> list[InputObject]:
    """Return the input objects without duplicates, sorted by key.

    Raises InputError if the request or the manifest is invalid, and DeployError if S3
    cannot be read.

    `naming` is `relative` or `full`; see Assumptions.output_naming.
    """
    try:
        uri = S3Uri.parse(source["S3Uri"])
    except ValueError as error:
        raise InputError(str(error)) from error
    if source["S3DataType"] == "ManifestFile":
        start, keys = _read_manifest(backend, region, uri)
    else:
        start, keys = uri, list(backend.list_keys(region, uri))
    # Outputs are named after the part of the key below the last folder of the prefix.
    folder = start.key.rpartition("/")[0]
    num_skipped = len(folder) + 1 if folder and naming == "relative" else 0
    return [
        InputObject(S3Uri(start.bucket, key), key[num_skipped:])
        for key in sorted(set(keys))
        # The S3 console creates an empty object for each folder.
        if not key.endswith("/")
    ]


def _read_manifest(
    backend: Backend, region: str, uri: S3Uri
) -> tuple[S3Uri, list[str]]:
    """Return the prefix and the full keys of a manifest; raises InputError.

    It looks like `[{"prefix": "s3://bucket/some/"}, "relative/key", ...]`.
    """
    file, _ = backend.open_object(region, uri)
    try:
        first, *rest = json.loads(file.read())
        prefix = S3Uri.parse(first["prefix"])
        if not all(isinstance(name, str) for name in rest):
            raise ValueError("a name is not a string")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{uri} is not a manifest: {error}") from error
    return prefix, [prefix.key + name for name in rest]


def open_input(file: IO[bytes], *, is_gzip: bool) -> IO[bytes]:
    """Copy the content into a temporary file, decompressed if `is_gzip`; return it.

    The file is seekable and at its start. Raises InputError if the content should be
    compressed with Gzip and is not.
    """
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


def split_payloads(
    file: IO[bytes], *, max_bytes: int | None, is_packed: bool, keeps_newlines: bool
) -> Iterator[bytes]:
    """Yield payloads of one line each, or, if `is_packed`, of as many as fit.

    A payload has at most `max_bytes`; None means no limit. Skips empty lines. Without
    `keeps_newlines`, newlines are removed from the ends of payloads. Raises InputError
    if a single line is too long.
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
        separator = b"" if keeps_newlines or not packed else b"\n"
        if max_bytes is not None and size + len(separator) + len(record) > max_bytes:
            yield b"".join(packed)
            packed, size, separator = [], 0, b""
        packed += [separator, record]
        size += len(separator) + len(record)
    if packed:
        yield b"".join(packed)
