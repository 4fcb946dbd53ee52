"""A document that somebody wants read: what it is, what is asked of it, its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Protocol

from deploy.documents.options import Option
from deploy.documents.signatures import Sample
from deploy.errors import ConfigError

__all__ = [
    "MEDIA_TYPES",
    "S3",
    "UNKNOWN_TYPE",
    "Absent",
    "ArchiveState",
    "Document",
    "Found",
    "Objects",
    "Refused",
    "StoredObject",
    "media_type_by_name",
    "split_uri",
]

MEDIA_TYPES = {
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".heic": "image/heic",
    ".heif": "image/heic",
    ".avif": "image/avif",
    ".jp2": "image/jp2",
    ".j2k": "image/jp2",
    ".pnm": "image/x-portable-anymap",
    ".pbm": "image/x-portable-anymap",
    ".pgm": "image/x-portable-anymap",
    ".ppm": "image/x-portable-anymap",
    ".tga": "image/x-tga",
    ".ico": "image/vnd.microsoft.icon",
}
UNKNOWN_TYPE = "application/octet-stream"
S3 = "s3://"


class ArchiveState(StrEnum):
    """Reasons why an S3 object that exists cannot be read now."""

    ARCHIVED = "archived"
    """In Glacier, Glacier Deep Archive or an archive tier of Intelligent-Tiering."""
    RESTORING = "being restored"
    UNKNOWN = "unknown"
    """A listing names Intelligent-Tiering without the tier."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of S3, as a listing shows it."""

    bucket: str
    key: str
    size: int
    etag: str
    modified: datetime | None = field(default=None, compare=False)
    archive: ArchiveState | None = field(default=None, compare=False)
    """None: it can be read now. A listing does not tell that it was restored."""

    @property
    def uri(self) -> str:
        return f"{S3}{self.bucket}/{self.key}"

    @property
    def content(self) -> str:
        """A key for the object's contents: URI, ETag and size.

        The URI is part of it because ETags can be forged to be equal.
        """
        return f"{self.uri} {self.etag} {self.size}"


class Absent(StrEnum):
    """Why an object cannot be had, by the codes of the service."""

    NOT_FOUND = "document_not_found"
    FORBIDDEN = "document_forbidden"
    """These credentials may not read it, or not know that there is none."""


class Objects(Protocol):
    """What is asked of S3."""

    def below(self, bucket: str, prefix: str) -> Iterable[StoredObject]: ...
    def heads(self, uris: Sequence[str]) -> Sequence[StoredObject | Absent]:
        """In that order."""
        ...

    def samples(self, items: Sequence[StoredObject]) -> Sequence[Sample | None]:
        """Return samples in the order of the items; None for an unreadable object."""
        ...

    def read(self, bucket: str, key: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Document:
    """One document, and what is asked of it."""

    name: str
    """Where its results go, below wherever they go: relative, with slashes, unique
    among those found together."""
    source: str
    """An absolute path, or s3://bucket/key."""
    media_type: str
    size: int
    """Bytes."""
    content: str
    """sha256 of a file's bytes; of an object its URI, ETag and size."""
    options: Mapping[str, Option] = field(default_factory=dict)
    accept: str = "application/json"
    num_pages: int | None = None
    """Of those asked for; None where only reading it would tell."""
    modified: datetime | None = field(default=None, compare=False)
    """When it came into S3: a result from before is of another document."""

    @property
    def is_stored(self) -> bool:
        """It lies in S3 already."""
        return self.source.startswith(S3)

    @property
    def key(self) -> str:
        """Equal for equal contents, options and formats: 32 hexadecimal digits."""
        return _digest([self.content, dict(self.options), self.accept])

    @property
    def place(self) -> str:
        """Who asks, whatever the document holds today: 32 hexadecimal digits."""
        return _place(self.source, self.options, self.accept)


@dataclass(frozen=True, slots=True)
class Refused:
    """What was named and is not read, and why."""

    source: str
    reason: str
    code: str
    """The one that the service would have for it."""
    is_named: bool = True
    """Somebody asked for it by name; else it lay in a folder."""
    name: str = ""
    """As a document's: where its error goes."""
    options: Mapping[str, Option] = field(default_factory=dict)
    accept: str = "application/json"

    @classmethod
    def of(cls, document: Document, reason: str, code: str) -> Refused:
        """Found, and yet not to be read."""
        return cls(
            document.source,
            reason,
            code,
            name=document.name,
            options=document.options,
            accept=document.accept,
        )

    @property
    def place(self) -> str:
        """That of the document that would have been read."""
        return _place(self.source, self.options, self.accept)

    @property
    def key(self) -> str:
        """Of what holds nothing that could be read."""
        return _digest(["refused", self.place])

    @property
    def is_absent(self) -> bool:
        """It may be what it always was: we do not see it."""
        return self.code in (Absent.NOT_FOUND.value, Absent.FORBIDDEN.value)

    def __str__(self) -> str:
        code = f" ({self.code})" if self.is_named else ""
        return f"{self.source}: {self.reason}{code}"

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was named."""

    documents: tuple[Document, ...]
    refused: tuple[Refused, ...] = ()
    empty: tuple[str, ...] = ()
    """Inputs at which there was none of either."""
    num_hidden: int = 0
    """Files in folders that were left out because a name begins with a dot."""

    @property
    def num_pages(self) -> int | None:
        """Of all of them; None where one document's are not known."""
        counts = [document.num_pages for document in self.documents]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


def media_type_by_name(path: Path | PurePosixPath) -> str:
    """Return the type that a name suggests; `signatures` tells it by the bytes."""
    return MEDIA_TYPES.get(path.suffix.lower(), UNKNOWN_TYPE)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key; raises ConfigError."""
    bucket, _, key = uri.removeprefix(S3).partition("/")
    if not uri.startswith(S3) or not bucket:
        raise ConfigError(
            f"it must be s3://bucket/key, not {uri}", hint="an address with its s3://"
        )
    return bucket, key


def _place(source: str, options: Mapping[str, Option], accept: str) -> str:
    return _digest([source, dict(options), accept])


def _digest(contents: object) -> str:
    canonical = json.dumps(contents, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
