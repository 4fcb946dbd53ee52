"""Tell what kind of document some bytes are, and whether they are what was declared."""

from __future__ import annotations

from handler.errors import UnsupportedMediaTypeError
from handler.preprocess.aliases import canonical_type
from handler.preprocess.found import kind_of

__all__ = [
    "HEAD_BYTES",
    "MEDIA_TYPES",
    "PDF",
    "TIFF",
    "agreed_media_type",
    "media_type_of",
]

PDF = "application/pdf"
TIFF = "image/tiff"

MEDIA_TYPES = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/bmp",
    "image/gif",
    TIFF,
    PDF,
)
"""What we read."""

HEAD_BYTES = 1024
"""How much of a document `media_type_of` needs; a PDF's header may come late."""

_FORM = "application/x-www-form-urlencoded"
# The name for any bytes, and curl's for a body.
_UNDECLARED = frozenset({"application/octet-stream", _FORM})

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"BM", "image/bmp"),
)


def media_type_of(head: bytes) -> str | None:
    """The type of a document by its first bytes; None: none that we read."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    return PDF if b"%PDF-" in head[:HEAD_BYTES] else None


def agreed_media_type(declared: str | None, head: bytes) -> str:
    """The type on which declaration and bytes agree; without the one, the other."""
    found = media_type_of(head)
    wanted = _declared_type(declared)
    if wanted is None:
        if found is None and _type_name(declared) == _FORM:
            # curl -d leaves out ends of lines, and with them what a PNG begins with.
            raise UnsupportedMediaTypeError(
                "the body was sent as a form, and is of no type we read: send the "
                "document itself, with curl --data-binary @page.png"
            )
        if found is None:
            raise UnsupportedMediaTypeError(
                f"the bytes are {kind_of(head) or 'of no type we read'}; documents are "
                f"read as {', '.join(MEDIA_TYPES)}"
            )
        return found
    if found != wanted:
        kind = found or kind_of(head) or "of no type we read"
        raise UnsupportedMediaTypeError(
            f"the document is declared {wanted}, but its bytes are {kind}"
        )
    return wanted


def _declared_type(declared: str | None) -> str | None:
    """What the caller says it is; None where that leaves the answer to the bytes."""
    name = _type_name(declared)
    media_type = canonical_type(name)
    if not name or media_type in _UNDECLARED:
        return None
    if media_type not in MEDIA_TYPES:
        raise UnsupportedMediaTypeError(
            f"{name[:100]} is not a type we read; send one of {', '.join(MEDIA_TYPES)}"
        )
    return media_type


def _type_name(declared: str | None) -> str:
    return (declared or "").partition(";")[0].strip(" \t\"'").lower()
