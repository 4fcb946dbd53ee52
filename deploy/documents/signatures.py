"""Media type of a document, detected from its bytes as the service does.

`deploy` does not import the handler, so the signatures of `handler/preprocess/media.py`
are repeated here; a test compares the two.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "HEAD_BYTES",
    "PDF",
    "TAIL_BYTES",
    "Sample",
    "choose_media_type",
    "is_unmistakable",
    "media_type_of",
    "read_sample",
]

HEAD_BYTES = 1024
"""First bytes that `media_type_of` needs; the header of a PDF may come late."""
TAIL_BYTES = 18
"""Last bytes that `choose_media_type` needs, for the footer of a TGA."""

PDF = "application/pdf"
TIFF = "image/tiff"
HEIC = "image/heic"
AVIF = "image/avif"
BMP = "image/bmp"
JPEG_2000 = "image/jp2"
PNM = "image/x-portable-anymap"
TGA = "image/x-tga"
GZIP_MAGIC = b"\x1f\x8b\x08"

MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"BM", BMP),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
    (b"\0\0\1\0", "image/vnd.microsoft.icon"),
)
PNM_HEADER = re.compile(
    rb"P(?:(?P<bitmap>[14])|[2356])"
    rb"(?:\s|#[^\r\n]*+[\r\n])++0*+[1-9]\d{0,8}"
    rb"(?:\s|#[^\r\n]*+[\r\n])++0*+[1-9]\d{0,8}"
    rb"(?(bitmap)|(?:\s|#[^\r\n]*+[\r\n])++0*+[1-9]\d{0,4})\s"
)
PLAIN_PNM = re.compile(rb"P[123](?:[\s\d]|#[^\r\n]*+(?:[\r\n]|\Z))*+\Z")
TGA_FOOTER = b"TRUEVISION-XFILE.\0"
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"})
AVIF_BRANDS = frozenset({b"avif", b"avis"})
PDF_OBJECT = re.compile(rb"\s*+(?:%[^\r\n]*+\s++)*+[0-9]{1,10} [0-9]{1,5} obj\b")
PDF_BODY = re.compile(rb"[\r\n][0-9]{1,10} [0-9]{1,5} obj\b")


@dataclass(frozen=True, slots=True)
class Sample:
    """First and last bytes of a document, which show its type."""

    head: bytes
    """First `HEAD_BYTES` of the document."""
    tail: bytes = b""
    """Last `TAIL_BYTES`; needed only if the first bytes show no type."""


def read_sample(path: Path) -> Sample:
    """Read the first and last bytes of a file; raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        return Sample(head, file.read(TAIL_BYTES))


def media_type_of(head: bytes) -> str | None:
    """Return the media type that the first bytes of a document show, else None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    for magic, media_type in MAGIC:
        if head.startswith(magic):
            return media_type
    if head[4:8] == b"ftyp":
        return _heif_type(head)
    head = head[:HEAD_BYTES]
    if PNM_HEADER.match(head) and (head[1:2] > b"3" or PLAIN_PNM.match(head)):
        return PNM
    return PDF if b"%PDF-" in head or PDF_OBJECT.match(head) else None


def choose_media_type(sample: Sample, by_name: str) -> str | None:
    """Return the media type of a document, or None if the service does not read it.

    The bytes decide. `by_name`, the type that the name suggests, counts for the two
    kinds whose bytes may show no type: a TGA without a footer, and a PDF whose header
    is damaged. Content that is compressed with gzip has the type of the content.
    """
    head = _decompress_gzip(sample.head)
    media_type = media_type_of(head)
    if media_type is not None:
        return media_type
    if by_name == TGA or sample.tail.endswith(TGA_FOOTER):
        return TGA
    return PDF if by_name == PDF and PDF_BODY.search(head) else None


def is_unmistakable(sample: Sample) -> bool:
    """Return whether the bytes suffice to take a file for a document.

    BMP, PNM and a PDF header after other text do not: ordinary text may begin with `BM`
    or `P1 1 1`, or contain `%PDF-`.
    """
    media_type = media_type_of(sample.head)
    if media_type == PDF:
        return sample.head.lstrip().startswith(b"%PDF-")
    return media_type not in (None, BMP, PNM)


def _decompress_gzip(head: bytes) -> bytes:
    """Decompress the first bytes of gzip data; return other data unchanged.

    Damaged gzip data gives b"".
    """
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _heif_type(head: bytes) -> str | None:
    """Return AVIF or HEIC by the brands in the first box of a file, or None."""
    length = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, length, 4))}
    if brands & AVIF_BRANDS:
        return AVIF
    return HEIC if brands & HEIC_BRANDS else None
