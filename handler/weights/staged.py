"""What lies at a prefix in S3: which files are the weights, and what they should be.

`chandra-manifest.json` beside the weights says so; README.md has its format. Where
there is none, sizes and ETags are all that is known of them.
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
    "Staged",
    "StagedFile",
    "is_model_file",
    "manifest_text",
    "parse_manifest",
    "staged_at",
]

logger = logging.getLogger(__name__)

MANIFEST = "chandra-manifest.json"
MAX_MANIFEST_BYTES = 4 * 1024**2
PATTERNS = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""Names of the files that a model is loaded from."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One file of the weights."""

    name: str
    size: int
    etag: str
    sha256: str | None
    """None: nobody has said."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What lies at a prefix in S3."""

    prefix: Address
    model: str | None
    revision: str | None
    files: tuple[StagedFile, ...]

    @property
    def digest(self) -> str:
        """Other contents, other digest."""
        lines = [f"{f.name} {f.sha256 or f.etag}\n" for f in self.files]
        return hashlib.sha256(f"{self.prefix}\n{''.join(lines)}".encode()).hexdigest()


def staged_at(
    objects: ObjectReader, prefix: Address, is_wanted: Callable[[str], bool]
) -> Staged:
    """What is to be fetched; ModelLoadError where that is not what was staged.

    Files in folders below the prefix are another model's.
    """
    found = {
        name: head
        for name, head in objects.names(prefix, never_stop).items()
        if is_wanted(name) and "/" not in name and not name.startswith(".")
    }
    manifest = _manifest(objects, prefix)
    if manifest is None:
        logger.warning(
            "weights without a manifest: nothing says what they should be",
            extra={"prefix": str(prefix), "try": "chandra-sagemaker model stage"},
        )
        files = [StagedFile(n, h.size, h.etag, None) for n, h in sorted(found.items())]
        return Staged(prefix, None, None, tuple(files))
    files = []
    for entry in manifest["files"]:
        name, size, sha256 = entry["name"], entry["size"], entry["sha256"]
        if "/" in name or not is_wanted(name):
            continue
        head = found.get(name)
        if head is None or head.size != size:
            there = "is missing" if head is None else f"has {head.size:,} bytes"
            raise ModelLoadError(
                f"{prefix}{name} {there}, but {MANIFEST} says {size:,} bytes: "
                "stage the weights again"
            )
        files.append(StagedFile(name, size, head.etag, sha256))
    return Staged(prefix, manifest.get("model"), manifest.get("revision"), tuple(files))


def is_model_file(name: str) -> bool:
    """Return whether loading the model reads a file of this name."""
    return name != MANIFEST and any(Path(name).match(p) for p in PATTERNS)


def manifest_text(
    model: str | None, revision: str | None, files: Iterable[StagedFile]
) -> str:
    """Return the text of a manifest; every file must have its hash."""
    entries = [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in files]
    manifest = {"model": model, "revision": revision, "files": entries}
    return json.dumps(manifest, indent=2) + "\n"


def parse_manifest(content: bytes, where: str) -> Mapping[str, Any]:
    """Return the manifest in `content`; raise ModelLoadError if it is invalid."""
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
            f"{where} is no list of weights: stage them again"
        ) from error
    return manifest  # type: ignore[no-any-return]


def _manifest(objects: ObjectReader, prefix: Address) -> Mapping[str, Any] | None:
    """Return the manifest at a prefix, or None where there is none."""
    address = Address(prefix.bucket, prefix.key + MANIFEST)
    try:
        content = objects.content(address, MAX_MANIFEST_BYTES, never_stop)
    except DocumentNotFoundError:
        return None
    return parse_manifest(content, str(address))
