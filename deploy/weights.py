"""Weights in a folder, and the manifest that says what they are."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deploy.errors import ConfigError, NotFoundError

__all__ = [
    "MANIFEST",
    "STAGING",
    "TAR",
    "WeightFile",
    "Weights",
    "fetch_from_hub",
    "is_same",
    "manifest_of",
    "some",
    "weights_in",
    "write_tar",
]

MANIFEST = "chandra-manifest.json"
STAGING = "chandra-staging.json"
"""There until the manifest is: whose it is that has begun."""
TAR = ".tar.gz"


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file, by its name below the folder."""

    name: str
    path: Path
    size: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Weights:
    """What is staged."""

    model: str
    revision: str
    files: tuple[WeightFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def sha256(self) -> str:
        """Of the list of files: another one, other weights."""
        return _sha256_of_list(self.files)


def weights_in(
    folder: Path,
    model: str,
    revision: str | None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Weights:
    """Every file of a folder with its sha256; without a revision, a digest of those.

    Hidden files and folders are left out: the hub's cache and git keep theirs there.
    """
    if not (folder / "config.json").is_file():
        raise NotFoundError(
            f"{folder} holds no config.json: it is no folder of weights",
            hint="chandra-sagemaker model stage --from FOLDER",
        )
    paths = sorted(_files(folder))
    total = sum(path.stat().st_size for path in paths)
    done, files = 0, []
    for path in paths:
        size = path.stat().st_size
        name = path.relative_to(folder).as_posix()
        files.append(WeightFile(name, path, size, sha256_of(path)))
        done += size
        progress(done, total)
    if revision is None:
        revision = f"sha256-{_sha256_of_list(files)[:16]}"
    return Weights(model, revision, tuple(files))


def manifest_of(weights: Weights, deployment: str) -> dict[str, Any]:
    """Put beside the weights, last: where it is, everything else is too."""
    return {
        "model": weights.model,
        "revision": weights.revision,
        "deployment": deployment,
        "files": [file.to_json() for file in weights.files],
    }


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_list(files: Sequence[WeightFile]) -> str:
    listing = json.dumps([file.to_json() for file in files], sort_keys=True)
    return hashlib.sha256(listing.encode()).hexdigest()


def write_tar(
    weights: Weights,
    target: IO[bytes],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """model.tar.gz as batch transform wants it: no links, the same bytes every time.

    Compressed as little as gzip allows: weights do not get smaller. `progress` is told
    how many bytes of the weights are in it.
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


def fetch_from_hub(model: str, revision: str | None) -> tuple[Path, str]:
    """A folder with the model at a commit, and the commit."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(
            "fetching from the hub needs huggingface_hub",
            hint="pip install huggingface_hub, or --from FOLDER",
        ) from error
    try:
        commit = huggingface_hub.HfApi().model_info(model, revision=revision).sha
        folder = huggingface_hub.snapshot_download(model, revision=commit)
    except Exception as error:
        # Which library carries the hub's calls, and so their errors, has changed twice.
        raise NotFoundError(
            f"{model} cannot be fetched from the hub: {error}",
            hint="chandra-sagemaker model stage --from FOLDER",
        ) from error
    return Path(folder), str(commit)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        is_hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not is_hidden and path.name not in (MANIFEST, STAGING):
            yield path


def is_same(manifest: Mapping[str, Any], weights: Weights) -> bool:
    """What was staged is what is to be staged."""
    return manifest.get("files") == [file.to_json() for file in weights.files]


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")
