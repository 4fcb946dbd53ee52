"""Tell what kind of document some bytes are, and whether they are what was declared."""

from __future__ import annotations

import re

from handler.errors import UnsupportedMediaTypeError
from handler.preprocess.aliases import canonical_type
from handler.preprocess.found import kind_of

__all__ = [
    "HEAD_BYTES",
    "HEIC",
    "ICO",
    "MEDIA_TYPES",
    "PDF",
    "TAIL_BYTES",
    "TGA",
    "TIFF",
    "agreed_media_type",
    "media_type_of",
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
"""What we read."""

HEAD_BYTES = 1024
"""How much of a document `media_type_of` needs; a PDF's header may come late."""
TAIL_BYTES = 18
"""How much of a document's end `agreed_media_type` needs, for TGA."""

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
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),  # without the boxes of a file
    (b"\0\0\1\0", ICO),
)
# Width and height, and the highest sample but for bitmaps, which prose that begins
# with P4 rarely has. Plain ones go on with digits.
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
    if head[4:8] == b"ftyp":
        return _heif_type(head)
    head = head[:HEAD_BYTES]
    if _PNM_HEADER.match(head) and (head[1:2] > b"3" or _PLAIN_PNM.match(head)):
        return PNM
    return PDF if b"%PDF-" in head or _PDF_OBJECT.match(head) else None


def _heif_type(head: bytes) -> str | None:
    """The type of an ISO base media file, by the brands in its first box."""
    length = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, length, 4))}
    if brands & _AVIF_BRANDS:
        return AVIF
    return HEIC if brands & _HEIC_BRANDS else None


def agreed_media_type(declared: str | None, head: bytes, tail: bytes = b"") -> str:
    """The type on which declaration and bytes agree; without the one, the other.

    A TGA has no first bytes of its own, and only newer ones have last bytes.
    """
    found = media_type_of(head)
    wanted = _declared_type(declared)
    if found is None and (wanted == TGA or tail.endswith(_TGA_FOOTER)):
        found = TGA
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
    if found is None and wanted == PDF and _PDF_BODY.search(head):
        # Its header is damaged, or lies behind other bytes.
        return wanted
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
