"""Staged weights in S3: the files below a prefix and the manifest that describes them.

`chandra-manifest.json` beside the weights lists the size and SHA-256 of each file; the
engine's README.md describes its format. Without a manifest, only the sizes and ETags
that S3 reports are known.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.errors import DocumentNotFoundError, ModelLoadError
from handler.storage.addresses import Address
from handler.storage.s3 import ObjectReader, never_stop

__all__ = [
    "MANIFEST",
    "PATTERNS",
    "StagedFile",
    "StagedWeights",
    "find_staged_weights",
    "format_manifest",
    "is_model_file",
    "parse_manifest",
]

logger = logging.getLogger(__name__)

MANIFEST = "chandra-manifest.json"
MAX_MANIFEST_BYTES = 4 * 1024**2
PATTERNS = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""Glob patterns of the files that a model is loaded from."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """File of staged weights."""

    name: str
    size: int
    """Size in bytes."""
    etag: str
    sha256: str | None
    """SHA-256 in hexadecimal digits; None without a manifest."""


@dataclass(frozen=True, slots=True)
class StagedWeights:
    """Weights below a prefix in S3, with the names that their manifest gives them."""

    prefix: Address
    model: str | None
    revision: str | None
    files: tuple[StagedFile, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the prefix and of all files; it changes with their contents."""
        lines = [f"{f.name} {f.sha256 or f.etag}\n" for f in self.files]
        return hashlib.sha256(f"{self.prefix}\n{''.join(lines)}".encode()).hexdigest()


def find_staged_weights(
    objects: ObjectReader, prefix: Address, is_included: Callable[[str], bool]
) -> StagedWeights:
    """Return the weights to download from a prefix.

    `is_included` selects files by their names. Without a manifest, all of them are
    returned, and a warning is logged. Files in folders below the prefix belong
    to other models and are ignored. Raises ModelLoadError if the manifest is invalid,
    or if a file is missing or has another size than the manifest says.
    """
    heads = {
        name: head
        for name, head in objects.list_heads(prefix, never_stop).items()
        if is_included(name) and "/" not in name and not name.startswith(".")
    }
    manifest = _read_manifest(objects, prefix)
    if manifest is None:
        logger.warning(
            "weights without a manifest cannot be verified",
            extra={"prefix": str(prefix), "try": "chandra-sagemaker model stage"},
        )
        files = [StagedFile(n, h.size, h.etag, None) for n, h in sorted(heads.items())]
        return StagedWeights(prefix, None, None, tuple(files))
    files = []
    for entry in manifest["files"]:
        name, size, sha256 = entry["name"], entry["size"], entry["sha256"]
        if "/" in name or not is_included(name):
            continue
        head = heads.get(name)
        if head is None or head.size != size:
            problem = "is missing" if head is None else f"has {head.size:,} bytes"
            raise ModelLoadError(
                f"{prefix}{name} {problem}, but {MANIFEST} says {size:,} bytes: "
                "stage the weights again"
            )
        files.append(StagedFile(name, size, head.etag, sha256))
    return StagedWeights(
        prefix, manifest.get("model"), manifest.get("revision"), tuple(files)
    )


def is_model_file(name: str) -> bool:
    """Return whether loading the model reads a file of this name."""
    return name != MANIFEST and any(Path(name).match(p) for p in PATTERNS)


def format_manifest(
    model: str | None, revision: str | None, files: Iterable[StagedFile]
) -> str:
    """Return the text of a manifest; every file must have its hash."""
    entries = [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in files]
    manifest = {"model": model, "revision": revision, "files": entries}
    return json.dumps(manifest, indent=2) + "\n"


def parse_manifest(content: bytes, location: str) -> Mapping[str, Any]:
    """Return the manifest in `content`; raise ModelLoadError if it is invalid.

    `location` names the manifest in the error.
    """
    try:
        manifest = json.loads(content)
        for name in ("model", "revision"):
            if not isinstance(manifest.get(name), str | None):
                raise ValueError
        for entry in manifest["files"]:
            is_entry = (
                isinstance(entry["name"], str)
                and isinstance(entry["size"], int)
                and isinstance(entry["sha256"], str)
            )
            if not is_entry:
                raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelLoadError(
            f"{location} is not a valid weights manifest: stage the weights again"
        ) from error
    return manifest  # type: ignore[no-any-return]


def _read_manifest(objects: ObjectReader, prefix: Address) -> Mapping[str, Any] | None:
    """Return the manifest at a prefix, or None if it has no manifest.

    Raises ModelLoadError if the manifest is invalid.
    """
    address = Address(prefix.bucket, prefix.key + MANIFEST)
    try:
        content = objects.read_content(address, MAX_MANIFEST_BYTES, never_stop)
    except DocumentNotFoundError:
        return None
    return parse_manifest(content, str(address))
