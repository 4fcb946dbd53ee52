"""Document to read, with its options, its key, and its S3 object."""

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
    "AbsenceReason",
    "ArchiveState",
    "Document",
    "FoundDocuments",
    "Objects",
    "Refused",
    "StoredObject",
    "media_type_by_name",
    "split_uri",
    "strip_scheme",
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
    """Object of S3 as a listing returns it."""

    bucket: str
    key: str
    size: int
    etag: str
    modified: datetime | None = field(default=None, compare=False)
    archive: ArchiveState | None = field(default=None, compare=False)
    """None if the object can be read now. A listing does not show that it was
    restored."""

    @property
    def uri(self) -> str:
        return f"{S3}{self.bucket}/{self.key}"

    @property
    def content_key(self) -> str:
        """Key of the object's contents: URI, ETag and size.

        The URI is part of it because ETags can be forged to be equal.
        """
        return f"{self.uri} {self.etag} {self.size}"


class AbsenceReason(StrEnum):
    """Reasons why an object cannot be read, as error codes of the service."""

    NOT_FOUND = "document_not_found"
    FORBIDDEN = "document_forbidden"
    """The object may not be read, or the caller may not know whether it exists."""


class Objects(Protocol):
    """Read access to S3; the methods raise DeployError."""

    def list_objects(self, bucket: str, prefix: str) -> Iterable[StoredObject]:
        """Return the objects whose keys start with a prefix."""
        ...

    def head_objects(
        self, uris: Sequence[str]
    ) -> Sequence[StoredObject | AbsenceReason]:
        """Return the objects, or why they cannot be read, in the order of the URIs."""
        ...

    def read_samples(self, items: Sequence[StoredObject]) -> Sequence[Sample | None]:
        """Return samples in the order of the items; None for an unreadable object."""
        ...

    def read(self, bucket: str, key: str) -> bytes:
        """Return the bytes of an object; raises NotFoundError."""
        ...


@dataclass(frozen=True, slots=True)
class Document:
    """Document to read, with its options."""

    name: str
    """Path of its results, relative to their folder; unique among documents that were
    found together."""
    source: str
    """An absolute path, or s3://bucket/key."""
    media_type: str
    size: int
    """Bytes."""
    content_key: str
    """Key of the contents: sha256 of a file; URI, ETag and size of an object."""
    options: Mapping[str, Option] = field(default_factory=dict)
    accept: str = "application/json"
    num_pages: int | None = None
    """Number of selected pages; None if it is unknown until the document is read."""
    modified: datetime | None = field(default=None, compare=False)
    """Time of the S3 object. An older result belongs to an earlier version."""

    @property
    def is_in_s3(self) -> bool:
        """True if the document is an object of S3."""
        return self.source.startswith(S3)

    @property
    def key(self) -> str:
        """Digest of contents, options and format, as 32 hexadecimal digits."""
        return _hash_contents([self.content_key, dict(self.options), self.accept])

    @property
    def place_id(self) -> str:
        """Digest of source, options and format, as 32 hexadecimal digits.

        It does not depend on the contents.
        """
        return _hash_place(self.source, self.options, self.accept)


@dataclass(frozen=True, slots=True)
class Refused:
    """Document that was named or found and is not read."""

    source: str
    reason: str
    code: str
    """Error code that the service would return."""
    is_named: bool = True
    """True if an input names it; False if it was found in a folder."""
    name: str = ""
    """Name for the file with its error, as `Document.name`."""
    options: Mapping[str, Option] = field(default_factory=dict)
    accept: str = "application/json"

    @classmethod
    def from_document(cls, document: Document, reason: str, code: str) -> Refused:
        """Return the refusal of a document that was found."""
        return cls(
            document.source,
            reason,
            code,
            name=document.name,
            options=document.options,
            accept=document.accept,
        )

    @property
    def place_id(self) -> str:
        """`Document.place_id` of the document that would have been read."""
        return _hash_place(self.source, self.options, self.accept)

    @property
    def key(self) -> str:
        """Key of the failed job in the ledger that records this document."""
        return _hash_contents(["refused", self.place_id])

    @property
    def is_absent(self) -> bool:
        """True if the object is missing or hidden; an earlier result may be valid."""
        return self.code in (
            AbsenceReason.NOT_FOUND.value,
            AbsenceReason.FORBIDDEN.value,
        )

    def __str__(self) -> str:
        code = f" ({self.code})" if self.is_named else ""
        return f"{self.source}: {self.reason}{code}"

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class FoundDocuments:
    """Documents and refusals of all inputs."""

    documents: tuple[Document, ...]
    refused: tuple[Refused, ...] = ()
    empty: tuple[str, ...] = ()
    """Inputs without documents or refusals."""
    num_hidden: int = 0
    """Number of files left out of folders because a name begins with a dot."""

    @property
    def num_pages(self) -> int | None:
        """Number of pages of all documents; None if one of them is unknown."""
        counts = [document.num_pages for document in self.documents]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


def media_type_by_name(path: Path | PurePosixPath) -> str:
    """Return the media type that the suffix of a name suggests, or UNKNOWN_TYPE."""
    return MEDIA_TYPES.get(path.suffix.lower(), UNKNOWN_TYPE)


def strip_scheme(uri: str) -> str:
    """Return bucket/key of s3://bucket/key."""
    return uri.removeprefix(S3)


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of s3://bucket/key; the key may be empty.

    Raises ConfigError for other text.
    """
    bucket, _, key = strip_scheme(uri).partition("/")
    if not uri.startswith(S3) or not bucket:
        raise ConfigError(
            f"it must be s3://bucket/key, not {uri}", hint="an address with its s3://"
        )
    return bucket, key


def _hash_place(source: str, options: Mapping[str, Option], accept: str) -> str:
    return _hash_contents([source, dict(options), accept])


def _hash_contents(contents: object) -> str:
    canonical = json.dumps(contents, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
