"""Files of weights in a folder, their manifest and their tar."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any

from deploy.errors import NotFoundError

__all__ = [
    "MANIFEST",
    "STAGING",
    "TAR",
    "WeightFile",
    "Weights",
    "abbreviate",
    "build_manifest",
    "compute_manifest_sha256",
    "has_same_files",
    "is_weight",
    "read_weights",
    "write_tar",
]

MANIFEST = "chandra-manifest.json"
STAGING = "chandra-staging.json"
"""Object that exists until the manifest does; names the deployment that uploads."""
TAR = ".tar.gz"


@dataclass(frozen=True, slots=True)
class WeightFile:
    """File of weights, with its name relative to the folder."""

    name: str
    path: Path
    size: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights to stage."""

    model: str
    revision: str
    files: tuple[WeightFile, ...]
    source: Mapping[str, Any] | None = None
    """Origin of the weights, source of their name, and facts of their config.json."""

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def sha256(self) -> str:
        """Digest of the list of files."""
        return _sha256_of_list([file.to_json() for file in self.files])


def read_weights(
    folder: Path,
    model: str,
    revision: str | None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Weights:
    """Hash the files of a folder, and return them as weights.

    If `revision` is None, a digest of the files becomes the revision. Hidden files and
    folders are left out, because the hub's cache and git store their data there.
    `progress` is called with the number of bytes hashed and the total. Raises
    NotFoundError if there is no config.json.
    """
    if not (folder / "config.json").is_file():
        raise NotFoundError(
            f"{folder} has no config.json: it is not a folder of weights",
            hint="chandra-sagemaker model stage --from FOLDER",
        )
    paths = sorted(_find_files(folder))
    total = sum(path.stat().st_size for path in paths)
    done, files = 0, []
    for path in paths:
        size = path.stat().st_size
        name = path.relative_to(folder).as_posix()
        files.append(WeightFile(name, path, size, compute_sha256(path)))
        done += size
        progress(done, total)
    if revision is None:
        revision = f"sha256-{_sha256_of_list([f.to_json() for f in files])[:16]}"
    return Weights(model, revision, tuple(files))


def build_manifest(weights: Weights, deployment: str) -> dict[str, Any]:
    """Return the manifest of weights that a deployment stages.

    It is uploaded last, so that its presence means that all files are there.
    """
    source = {} if weights.source is None else {"source": dict(weights.source)}
    return {
        "model": weights.model,
        "revision": weights.revision,
        **source,
        "deployment": deployment,
        "files": [file.to_json() for file in weights.files],
    }


def compute_manifest_sha256(manifest: Mapping[str, Any]) -> str:
    """Return the digest of the files that a manifest lists, as `Weights.sha256`."""
    return _sha256_of_list(manifest.get("files"))


def compute_sha256(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_list(files: object) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def write_tar(
    weights: Weights,
    target: IO[bytes],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write model.tar.gz for batch transform, without links and reproducible.

    Compression is minimal, because weights hardly compress. `progress` gets the number
    of bytes of the weights written so far.
    """
    done = 0
    with (
        gzip.GzipFile(fileobj=target, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for file in weights.files:
            info = tarfile.TarInfo(file.name)
            info.size = file.size
            with file.path.open("rb") as content:
                tar.addfile(info, content)
            done += file.size
            progress(done, weights.size)


def _find_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and is_weight(path.relative_to(folder)):
            yield path


def is_weight(path: PurePath) -> bool:
    """Return whether a file belongs to the weights, by its path below the folder.

    Hidden files and our own manifests do not.
    """
    is_hidden = any(part.startswith(".") for part in path.parts)
    return not is_hidden and path.name not in (MANIFEST, STAGING)


def has_same_files(manifest: Mapping[str, Any], weights: Weights) -> bool:
    """Return whether a manifest lists the same files as the weights."""
    return manifest.get("files") == [file.to_json() for file in weights.files]


def abbreviate(names: Sequence[str]) -> str:
    """Return the first three names, and the number of the others, as text."""
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")
