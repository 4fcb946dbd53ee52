"""Detection of a document's media type, and its comparison with the declared type."""

from __future__ import annotations

import re

from handler.errors import UnsupportedMediaTypeError
from handler.preprocess.aliases import canonical_type
from handler.preprocess.unsupported_types import describe_bytes

__all__ = [
    "HEAD_BYTES",
    "HEIC",
    "ICO",
    "MEDIA_TYPES",
    "PDF",
    "TAIL_BYTES",
    "TGA",
    "TIFF",
    "media_type_of",
    "resolve_media_type",
]

PDF = "application/pdf"
TIFF = "image/tiff"
HEIC = "image/heic"
AVIF = "image/avif"
ICO = "image/vnd.microsoft.icon"
JPEG_2000 = "image/jp2"
PNM = "image/x-portable-anymap"
TGA = "image/x-tga"

MEDIA_TYPES = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/bmp",
    "image/gif",
    TIFF,
    HEIC,
    AVIF,
    JPEG_2000,
    PNM,
    TGA,
    ICO,
    PDF,
)
"""The media types that are supported."""

HEAD_BYTES = 1024
"""First bytes that `media_type_of` needs. The header of a PDF may come late."""
TAIL_BYTES = 18
"""Last bytes that `resolve_media_type` needs to detect a TGA."""

_FORM = "application/x-www-form-urlencoded"
# The generic type, and curl's default type of a request body: neither says anything
# about the content.
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
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),  # a codestream without the JP2 container
    (b"\0\0\1\0", ICO),
)
# The header has width and height, and the highest sample value unless it is a bitmap.
# Prose that begins with P4 rarely continues like that. In the plain variants only
# digits may follow.
_PNM_HEADER = re.compile(
    rb"P(?:(?P<bitmap>[14])|[2356])"
    rb"(?:\s|#[^\r\n]*+[\r\n])++0*+[1-9]\d{0,8}"
    rb"(?:\s|#[^\r\n]*+[\r\n])++0*+[1-9]\d{0,8}"
    rb"(?(bitmap)|(?:\s|#[^\r\n]*+[\r\n])++0*+[1-9]\d{0,4})\s"
)
_PLAIN_PNM = re.compile(rb"P[123](?:[\s\d]|#[^\r\n]*+(?:[\r\n]|\Z))*+\Z")
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})

# Viewers open a PDF without its header. It begins with an object, or with comments
# before the first object.
_PDF_OBJECT = re.compile(rb"\s*+(?:%[^\r\n]*+\s++)*+[0-9]{1,10} [0-9]{1,5} obj\b")
_PDF_BODY = re.compile(rb"[\r\n][0-9]{1,10} [0-9]{1,5} obj\b")


def media_type_of(head: bytes) -> str | None:
    """Return the media type of a document from its first bytes.

    Returns None if the type is not supported, and for TGA, which has no magic number.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    if head[4:8] == b"ftyp":
        return _detect_heif_type(head)
    head = head[:HEAD_BYTES]
    if _PNM_HEADER.match(head) and (head[1:2] > b"3" or _PLAIN_PNM.match(head)):
        return PNM
    return PDF if b"%PDF-" in head or _PDF_OBJECT.match(head) else None


def _detect_heif_type(head: bytes) -> str | None:
    """Return AVIF or HEIC by the brands of an ISO base media file; None for others."""
    length = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, length, 4))}
    if brands & _AVIF_BRANDS:
        return AVIF
    return HEIC if brands & _HEIC_BRANDS else None


def resolve_media_type(declared: str | None, head: bytes, tail: bytes = b"") -> str:
    """Return the media type after comparing the declared type with the content.

    `declared` is a Content-Type header, `head` are the first `HEAD_BYTES` bytes of the
    document, and `tail` are its last `TAIL_BYTES` bytes.

    A generic or missing declaration leaves the decision to the content. TGA has no
    magic number, and only newer files have a footer, so a declared TGA is accepted if
    its first bytes match no other type. Raises UnsupportedMediaTypeError if the types
    differ or the type is not supported.
    """
    detected = media_type_of(head)
    declared_type = _parse_declared_type(declared)
    if detected is None and (declared_type == TGA or tail.endswith(_TGA_FOOTER)):
        detected = TGA
    if declared_type is None:
        if detected is None and _normalize_type(declared) == _FORM:
            # curl -d removes line ends, which damages the magic number of a PNG.
            raise UnsupportedMediaTypeError(
                "the body was sent as a form, and its content is of no supported type: "
                "send the document itself, with curl --data-binary @page.png"
            )
        if detected is None:
            raise UnsupportedMediaTypeError(
                f"the document is {describe_bytes(head) or 'of no supported type'}; "
                f"send one of {', '.join(MEDIA_TYPES)}"
            )
        return detected
    if detected is None and declared_type == PDF and _PDF_BODY.search(head):
        # The header of the PDF is damaged, or other bytes precede it.
        return declared_type
    if detected != declared_type:
        kind = detected or describe_bytes(head) or "of no supported type"
        raise UnsupportedMediaTypeError(
            f"the document is declared as {declared_type}, but its content is {kind}"
        )
    return declared_type


def _parse_declared_type(declared: str | None) -> str | None:
    """Return the canonical declared type; None if it is missing or generic.

    Raises UnsupportedMediaTypeError for a type that is not supported.
    """
    name = _normalize_type(declared)
    media_type = canonical_type(name)
    if not name or media_type in _UNDECLARED:
        return None
    if media_type not in MEDIA_TYPES:
        raise UnsupportedMediaTypeError(
            f"{name[:100]} is not supported; send one of {', '.join(MEDIA_TYPES)}"
        )
    return media_type


def _normalize_type(declared: str | None) -> str:
    """Return a declared type in lower case, without parameters; "" if it is missing."""
    return (declared or "").partition(";")[0].strip(" \t\"'").lower()
