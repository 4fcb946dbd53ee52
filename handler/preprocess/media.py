"""Tell what kind of document some bytes are, and whether they are what was declared."""

from __future__ import annotations

import re

from handler.errors import UnsupportedMediaTypeError

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

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/tif": TIFF,
    "application/x-pdf": PDF,
}

_FORM = "application/x-www-form-urlencoded"
# S3's name for an object that was uploaded without a type, and curl's for a body.
_UNDECLARED = frozenset({"application/octet-stream", "binary/octet-stream", _FORM})

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

# A PDF without its header, which viewers open: an object, after at most a few comments.
_PDF_OBJECT = re.compile(rb"\s*+(?:%[^\r\n]*+\s++)*+[0-9]{1,10} [0-9]{1,5} obj\b")
_PDF_BODY = re.compile(rb"[\r\n][0-9]{1,10} [0-9]{1,5} obj\b")


def media_type_of(head: bytes) -> str | None:
    """The type of a document by its first bytes; None: none that we read."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    head = head[:HEAD_BYTES]
    return PDF if b"%PDF-" in head or _PDF_OBJECT.match(head) else None


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
                f"the bytes are of no type we read: {', '.join(MEDIA_TYPES)}"
            )
        return found
    if found is None and wanted == PDF and _PDF_BODY.search(head):
        # Its header is damaged, or lies behind other bytes.
        return wanted
    if found != wanted:
        raise UnsupportedMediaTypeError(
            f"the document is declared {wanted}, but its bytes are "
            f"{found or 'of no type we read'}"
        )
    return wanted


def _declared_type(declared: str | None) -> str | None:
    """What the caller says it is; None where that leaves the answer to the bytes."""
    name = _type_name(declared)
    if not name or name in _UNDECLARED:
        return None
    media_type = _ALIASES.get(name, name)
    if media_type not in MEDIA_TYPES:
        raise UnsupportedMediaTypeError(
            f"{name[:100]} is not a type we read; send one of {', '.join(MEDIA_TYPES)}"
        )
    return media_type


def _type_name(declared: str | None) -> str:
    return (declared or "").partition(";")[0].strip().lower()
