"""Image in a tar file, as `podman save --format oci-archive` writes it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.errors import ConfigError
from deploy.image.configuration import (
    WANTED_PLATFORM,
    Configuration,
    parse_configuration,
)
from deploy.image.manifest import get_platform, is_attestation, is_index
from deploy.image.tar import TarReader

__all__ = ["Archive", "ArchivedImage", "Blob"]

SAVE_HINT = (
    "podman save --format oci-archive -o FILE IMAGE, or docker save -o FILE IMAGE"
)
PLATFORM_HINT = (
    f"build it with --platform {WANTED_PLATFORM}, as chandra-sagemaker image push does"
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
TAG_ANNOTATIONS = ("org.opencontainers.image.ref.name", "io.containerd.image.name")
MAX_DEPTH = 4
MAX_MANIFESTS = 1000


@dataclass(frozen=True, slots=True)
class Blob:
    """Descriptor of a layer or configuration: digest and number of its bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """Image of an archive for one platform."""

    digest: str
    """Digest of its manifest in the archive; a Docker manifest has another digest."""
    manifest: Mapping[str, Any]
    configuration: Configuration
    tags: tuple[str, ...]
    """Tags of the image in the archive's order, each once."""

    @property
    def tag(self) -> str | None:
        """Only tag of the image; None if it has none or several."""
        return self.tags[0] if len(self.tags) == 1 else None


class Archive:
    """Reader of an OCI archive: its manifests and blobs; nothing is unpacked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar = TarReader(path, again=SAVE_HINT)
        self._other_platforms: set[str] = set()

    def select_image(self, tag: str | None = None) -> ArchivedImage:
        """Return the image for linux/amd64; its blobs are in the archive and whole.

        `tag` selects one of several images. Raises ConfigError if there is no such
        image, if `tag` does not select exactly one, or if the archive is damaged.
        """
        images: dict[str, ArchivedImage] = {}
        for image in self._find_images():
            # An archive has one entry per tag, also for tags of the same image.
            earlier = images.get(image.digest)
            tags = (*earlier.tags, *image.tags) if earlier else image.tags
            images[image.digest] = replace(image, tags=tuple(dict.fromkeys(tags)))
        candidates = [i for i in images.values() if i.configuration.runs_on_sagemaker]
        if not candidates:
            platforms = {i.configuration.platform for i in images.values()}
            names = sorted(platforms | self._other_platforms)
            raise ConfigError(
                f"{self._path} is for {' and '.join(names) or 'no platform'}, and "
                f"SageMaker's GPU machines are {WANTED_PLATFORM}",
                hint=PLATFORM_HINT,
            )
        selected = (
            [i for i in candidates if tag in i.tags]
            if len(candidates) > 1
            else candidates
        )
        if len(selected) != 1:
            choices = ", ".join(" or ".join(i.tags) or i.digest for i in candidates)
            raise ConfigError(
                f"{self._path} holds {len(candidates)} images for {WANTED_PLATFORM}: "
                f"{choices}",
                hint="save one image in a file, or name one of these tags with --tag",
            )
        self._require_blobs(selected[0].manifest)
        return selected[0]

    @staticmethod
    def list_blobs(manifest: Mapping[str, Any]) -> list[Blob]:
        """Return the descriptors of configuration and layers in a manifest."""
        entries = [manifest["config"], *manifest["layers"]]
        return [Blob(str(e["digest"]), int(e["size"])) for e in entries]

    def read_parts(self, digest: str, part_bytes: int) -> Iterator[bytes]:
        """Yield the content of a blob in pieces of at most `part_bytes`."""
        return self._tar.read_parts(_member_name(digest), part_bytes)

    def _find_images(self) -> Iterator[ArchivedImage]:
        """Yield the images that index.json lists for our platform, or without any.

        Raises ConfigError, at the first image or later, if the archive is invalid.
        """
        names = self._tar.names
        if "index.json" not in names and "manifest.json" in names:
            raise ConfigError(
                f"{self._path} is a Docker archive from before Docker 25, not an OCI "
                "archive: it has no index.json",
                hint="podman save --format oci-archive -o FILE IMAGE, or docker save "
                "of a newer Docker",
            )
        if "index.json" not in names:
            raise ConfigError(
                f"{self._path} is not an OCI archive: it has no index.json",
                hint=SAVE_HINT,
            )
        index = self._parse_object(self._tar.read_document("index.json"), "index.json")
        if not is_index(index):
            raise ConfigError(
                f"index.json in {self._path} names no manifests", hint=SAVE_HINT
            )
        yield from self._walk_index(index, "index.json", None, MAX_DEPTH)

    def _walk_index(
        self, index: Mapping[str, Any], name: str, tag: str | None, depth: int
    ) -> Iterator[ArchivedImage]:
        """Yield the images in an index and the indexes that it lists, up to a depth.

        `tag` is the tag that the entry of this index carries. Platforms that are
        skipped are remembered for the error. Raises ConfigError for an invalid index.
        """
        entries = index["manifests"]
        if not isinstance(entries, list) or len(entries) > MAX_MANIFESTS or depth == 0:
            raise ConfigError(
                f"{name} in {self._path} is not a valid index", hint=SAVE_HINT
            )
        for entry in entries:
            digest = self._parse_descriptor(entry, name).digest
            platform = get_platform(entry)
            if is_attestation(entry):
                continue
            if platform not in (None, WANTED_PLATFORM):
                self._other_platforms.add(str(platform))
                continue
            own_tag = _parse_tag(entry) or tag
            manifest = self._read_json_blob(digest)
            if is_index(manifest):
                yield from self._walk_index(manifest, digest, own_tag, depth - 1)
                continue
            for part in self._list_parts(manifest, digest):
                self._parse_descriptor(part, digest)
            config = self._read_json_blob(str(manifest["config"]["digest"]))
            yield ArchivedImage(
                digest,
                manifest,
                parse_configuration(config),
                () if own_tag is None else (own_tag,),
            )

    def _list_parts(self, manifest: Mapping[str, Any], name: str) -> list[Any]:
        """Return the descriptors of configuration and layers; raises ConfigError."""
        layers = manifest.get("layers")
        if not isinstance(layers, list) or "config" not in manifest:
            raise ConfigError(
                f"{name} in {self._path} is not an image manifest", hint=SAVE_HINT
            )
        return [manifest["config"], *layers]

    def _parse_descriptor(self, entry: object, name: str) -> Blob:
        """Return the digest and size in a descriptor; raises ConfigError if invalid.

        The check matters because the digest becomes the name of a member.
        """
        if isinstance(entry, dict):
            digest, size = entry.get("digest"), entry.get("size")
            if (
                isinstance(digest, str)
                and DIGEST.fullmatch(digest) is not None
                and isinstance(size, int)
                and size >= 0
                and isinstance(entry.get("mediaType", ""), str)
            ):
                return Blob(digest, size)
        raise ConfigError(
            f"{name} in {self._path} names a blob without a sha256 and a size",
            hint=SAVE_HINT,
        )

    def _require_blobs(self, manifest: Mapping[str, Any]) -> None:
        """Raise ConfigError unless the archive has all blobs with the right sizes."""
        for blob in self.list_blobs(manifest):
            size = self._tar.get_size(_member_name(blob.digest))
            if size != blob.size:
                description = (
                    "no such blob" if size is None else f"{size:,} bytes of it"
                )
                raise ConfigError(
                    f"{self._path} is cut off or damaged: its manifest names "
                    f"{blob.digest} with {blob.size:,} bytes, and it holds "
                    f"{description}",
                    hint=SAVE_HINT,
                )

    def _read_json_blob(self, digest: str) -> Mapping[str, Any]:
        """Return a manifest or a configuration; raises ConfigError if it is damaged."""
        content = self._tar.read_document(_member_name(digest))
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise ConfigError(
                f"{self._path} is damaged: {digest} does not match its sha256",
                hint=SAVE_HINT,
            )
        return self._parse_object(content, digest)

    def _parse_object(self, content: bytes, name: str) -> dict[str, Any]:
        """Return the JSON object in `content`; raises ConfigError for other content."""
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{name} in {self._path} is not JSON", hint=SAVE_HINT
            ) from error
        if not isinstance(value, dict):
            raise ConfigError(
                f"{name} in {self._path} is not a JSON object", hint=SAVE_HINT
            )
        return value


def _parse_tag(entry: Mapping[str, Any]) -> str | None:
    """Return the tag that an entry of an index carries: "v1" of "repo/name:v1"."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict):
        return None
    for annotation in TAG_ANNOTATIONS:
        value = annotations.get(annotation)
        if isinstance(value, str) and value:
            _, slash, name = value.partition("@")[0].rpartition("/")
            name, colon, tag = name.rpartition(":")
            # A name alone is a tag; a name after a slash is a repository.
            return tag if tag and (colon or not slash) else None
    return None


def _member_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
