"""Reasons and error codes of documents that are refused before they are sent."""

from __future__ import annotations

import shlex
from pathlib import Path

from deploy.documents.document import (
    AbsenceReason,
    ArchiveState,
    StoredObject,
    media_type_by_name,
)
from deploy.documents.signatures import choose_media_type, read_sample

__all__ = [
    "ABSENT",
    "EMPTY",
    "NO_DOCUMENT",
    "UNREADABLE",
    "UNSUPPORTED",
    "describe_hidden_files",
    "detect_supported_type",
    "explain_archive_state",
]

UNREADABLE = "unreadable_document"
UNSUPPORTED = "unsupported_media_type"
EMPTY = "it is empty"
NO_DOCUMENT = (
    "its bytes are not a supported document: PDF, PNG, JPEG, WebP, GIF, BMP, TIFF, "
    "HEIC, AVIF, JPEG 2000, PNM, TGA and ICO are"
)
ABSENT = {
    AbsenceReason.NOT_FOUND: "there is no such object",
    AbsenceReason.FORBIDDEN: "these credentials may not read it, or it is not there",
}
ARCHIVED = (
    "it is archived: aws s3api restore-object --bucket {bucket} --key {key} "
    "--restore-request Days=7, and submit it again once it is restored"
)
RESTORING = (
    "it is archived and being restored, which takes hours: submit it again once it is "
    "restored"
)


def describe_hidden_files(num_hidden: int) -> list[str]:
    """Return one line about hidden files that were left out of folders, or none."""
    if not num_hidden:
        return []
    files = "1 hidden file" if num_hidden == 1 else f"{num_hidden:,} hidden files"
    return [f"left out: {files} (names with a dot in front): --hidden includes them"]


def detect_supported_type(path: Path) -> str | None:
    """Read the first and last bytes of a file; return its media type.

    Returns None if the type is not supported. Raises OSError if it cannot be read.
    """
    return choose_media_type(read_sample(path), media_type_by_name(path))


def explain_archive_state(item: StoredObject) -> str | None:
    """Return why an object must be restored before it can be read, as a reason.

    Returns None if the object can be read, or its archive state is unknown.
    """
    if item.archive is ArchiveState.RESTORING:
        return RESTORING
    if item.archive is ArchiveState.ARCHIVED:
        return ARCHIVED.format(bucket=item.bucket, key=shlex.quote(item.key))
    return None
