"""An image in a tar file, as `podman save --format oci-archive` writes it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import ConfigError
from deploy.image.manifest import is_index, platform_digest

__all__ = ["Archive", "Blob"]

AGAIN = "podman save --format oci-archive -o FILE IMAGE, or docker save"


@dataclass(frozen=True, slots=True)
class Blob:
    """A layer or a configuration, by the digest of its bytes."""

    digest: str
    size: int


class Archive:
    """Reads manifest and blobs; unpacks nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def manifest(self) -> dict[str, Any]:
        """Of linux/amd64, however deep its index is nested."""
        found = self._json("index.json")
        while is_index(found):
            found = self._json(_member(platform_digest(found)))
        return found

    @staticmethod
    def blobs(manifest: dict[str, Any]) -> list[Blob]:
        entries = [manifest["config"], *manifest["layers"]]
        return [Blob(str(e["digest"]), int(e["size"])) for e in entries]

    def parts(self, digest: str, part_bytes: int) -> Iterator[bytes]:
        """A blob, piece by piece."""
        with tarfile.open(self._path) as tar:
            file = tar.extractfile(_member(digest))
            if file is None:
                raise ConfigError(f"{self._path} holds no {digest}", hint=AGAIN)
            while piece := file.read(part_bytes):
                yield piece

    def _json(self, name: str) -> dict[str, Any]:
        try:
            with tarfile.open(self._path) as tar:
                file = tar.extractfile(name)
                content = json.loads(file.read() if file else b"")
        except OSError as error:
            raise ConfigError(
                f"{self._path} cannot be read: {error.strerror}", hint=AGAIN
            ) from error
        except (KeyError, ValueError, tarfile.TarError) as error:
            # A tar that is none is told in five lines, one for each compression.
            raise ConfigError(
                f"{self._path} is no OCI archive: it has no readable {name}", hint=AGAIN
            ) from error
        if not isinstance(content, dict):
            raise ConfigError(f"{name} in {self._path} is no object", hint=AGAIN)
        return content


def _member(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
