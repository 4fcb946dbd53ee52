"""Comparison of weights with their manifest by full hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.checks.finding import Finding
from deploy.errors import DeployError, NotFoundError
from deploy.weights.files import MANIFEST

__all__ = ["check_folder", "compare_with_manifest", "find_manifests"]

SUBJECT = "weights"
CHUNK_BYTES = 1024 * 1024

Progress = Callable[[int, int], None]
"""Callback with the number of bytes hashed and the total."""


def find_manifests(folder: Path) -> list[Path]:
    """Return the folders with a manifest: this one, or else those directly below it.

    A server's cache has a folder for each set of weights. Raises NotFoundError if no
    folder has a manifest.
    """
    folders = [folder] if (folder / MANIFEST).is_file() else []
    folders = folders or sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    if not folders:
        problem = "holds no" if folder.is_dir() else "is not a folder with a"
        raise NotFoundError(
            f"{folder} {problem} {MANIFEST}, so its files cannot be verified",
            hint="a folder that came from `model stage`, such as a server's "
            "CHANDRA_CACHE_DIR",
        )
    return folders


def check_folder(
    folder: Path, progress: Progress = lambda done, total: None
) -> Iterator[Finding]:
    """Hash the files of a folder, and yield the differences from its manifest.

    Raises DeployError if a file cannot be read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        manifest = None

    def chunks(name: str) -> Iterator[bytes]:
        try:
            with (folder / name).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise DeployError(
                f"{folder / name} cannot be read: {error.strerror}",
                hint="check the rights of the file and the health of the disk",
            ) from error

    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }
    return compare_with_manifest(
        str(folder),
        manifest,
        sizes,
        chunks,
        progress,
        hint="copy the weights again; in a server's cache, delete the file and restart "
        "the server, which downloads it again",
    )


def compare_with_manifest(
    place: str,
    manifest: Mapping[str, Any] | None,
    sizes: Mapping[str, int],
    chunks: Callable[[str], Iterator[bytes]],
    progress: Progress,
    hint: str,
) -> Iterator[Finding]:
    """Yield a finding for each file whose content is not what the manifest says.

    `place` is the folder or prefix in reports. `sizes` has the sizes of existing files
    by name, and `chunks` returns the content of a file. Files that the manifest does
    not list are ignored. An unreadable manifest is one finding.
    """
    try:
        files = [
            (str(file["name"]), int(file["size"]), str(file["sha256"]))
            for file in (manifest or {})["files"]
        ]
    except (KeyError, TypeError, ValueError):
        yield Finding(SUBJECT, True, f"the {MANIFEST} in {place} cannot be read", hint)
        return
    total = sum(size for _, size, _ in files)
    done = 0
    for name, size, sha256 in files:
        actual_size = sizes.get(name)
        if actual_size != size:
            state = (
                "is missing" if actual_size is None else f"has {actual_size:,} bytes"
            )
            sentence = f"{name} in {place} {state}, but {MANIFEST} says {size:,} bytes"
            yield Finding(SUBJECT, True, sentence, hint)
            total -= size
            continue
        digest = hashlib.sha256()
        for chunk in chunks(name):
            digest.update(chunk)
            done += len(chunk)
            progress(done, total)
        if digest.hexdigest() != sha256:
            sentence = (
                f"{name} in {place} is damaged: its sha256 is {digest.hexdigest()}, "
                f"but {MANIFEST} says {sha256}"
            )
            yield Finding(SUBJECT, True, sentence, hint)
