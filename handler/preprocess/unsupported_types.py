"""Descriptions of content that is not a document, such as an HTML page or ZIP file."""

from __future__ import annotations

import re

__all__ = ["describe_bytes"]

_OFFICE_PARTS = (
    (b"word/", "a Word document (DOCX)"),
    (b"xl/", "an Excel workbook (XLSX)"),
    (b"ppt/", "a PowerPoint presentation (PPTX)"),
    (b"[Content_Types].xml", "an Office file (DOCX, XLSX or PPTX)"),
)
_ZIP_TYPES = (
    (b"application/vnd.oasis.opendocument.text", "an OpenDocument text (ODT)"),
    (b"application/vnd.oasis.opendocument.spreadsheet", "a spreadsheet (ODS)"),
    (b"application/vnd.oasis.opendocument.presentation", "a presentation (ODP)"),
    (b"application/epub+zip", "an e-book (EPUB)"),
)
"""Content of the entry `mimetype`, which is the first of an OpenDocument or EPUB."""

_MAGIC = (
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Office or Outlook file (DOC, MSG)",
    ),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "Encapsulated PostScript"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"BZh", "bzip2 data"),
    (0, b"\xfd7zXZ\0", "XZ data"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a TAR archive"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 codestream"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"\0\0\1\0", "a Windows icon"),
    (0, b"gimp xcf", "a GIMP file"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (0, b"ID3", "an MP3 file"),
    (0, b"OggS", "an Ogg file"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
)
_RIFF_FORMS = {b"WAVE": "a WAV file", b"AVI ": "an AVI video"}
_BRANDS = (
    (b"avi", "an AVIF image"),
    (b"hei", "a HEIC image"),
    (b"hev", "a HEIC image"),
    (b"mif1", "a HEIC image"),
    (b"crx", "a raw image of a camera"),
    (b"M4A", "an audio file (M4A)"),
)
"""Prefixes of the major brand of an ISO base media file. Other brands are videos."""
_BASE64_STARTS = (
    *(b"JVBER", b"iVBORw0K", b"/9j/", b"R0lGOD", b"UklGR", b"SUkqA", b"TU0AK"),
)
"""Base64 of the first bytes of PDF, PNG, JPEG, GIF, WebP and TIFF."""

_DECLARATIONS = re.compile(
    rb"(?:<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE(?! *html)[^>]*>|\s)*", re.S | re.I
)
_HTML = re.compile(
    rb"(?i)<(?:!doctype\s+html|html|head|body|title|meta|script|div|p)\b"
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def describe_bytes(head: bytes) -> str | None:
    """Describe content by its first bytes, for an error message.

    Returns a phrase with its article, such as "a ZIP archive", or None if the content
    is not recognised.
    """
    if not head.strip(b"\0"):
        return "only zeros"
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if head.startswith(b"PK\3\4"):
        return _describe_zip(head)
    if head.startswith(b"RIFF"):
        return _RIFF_FORMS.get(head[8:12])
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return next(
            (kind for b, kind in _BRANDS if brand.startswith(b)), "an MP4 video"
        )
    return _describe_text(head)


def _describe_zip(head: bytes) -> str:
    for name, kind in (*_ZIP_TYPES, *_OFFICE_PARTS):
        if name in head:
            return kind
    return "a ZIP archive"


def _describe_text(head: bytes) -> str | None:
    """Describe content that is text; return None for other content."""
    text = _decode_text(head)
    if text is None or _CONTROL.search(text):
        return None
    start = text.lstrip("\ufeff \t\r\n").encode()
    if not start:
        return "only whitespace"
    if start.startswith(_BASE64_STARTS):
        return "base64 text: send the decoded bytes, or put the text into JSON"
    if start[:5].lower() == b"data:":
        return "a data: URL: put it into the field document of a JSON request"
    if start.startswith(b"--") and b"form-data" in start:
        return "a form: declare it as multipart/form-data with its boundary"
    if start.startswith(b"<"):
        return _describe_markup(start)
    if start.startswith((b"{", b"[")):
        return "JSON: declare it as application/json"
    return "plain text"


def _describe_markup(start: bytes) -> str:
    """Describe content that begins with `<`."""
    if _HTML.match(start):
        return "an HTML page"
    declarations = _DECLARATIONS.match(start)
    element = start[declarations.end() if declarations else 0 :]
    if _HTML.match(element):
        return "an HTML page"
    if element.startswith(b"<svg"):
        return "an SVG drawing"
    if element.startswith(b"<Error"):
        return "an XML error message, such as S3 returns instead of an object"
    return "XML"


def _decode_text(head: bytes) -> str | None:
    """Decode `head` as UTF-8, or as UTF-16 if it has a byte order mark.

    The last character may be cut off. Returns None if the bytes are not text.
    """
    encodings = ["utf-8"]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    for encoding in encodings:
        for end in range(len(head), max(len(head) - 4, 0), -1):
            try:
                return head[:end].decode(encoding)
            except UnicodeDecodeError:
                continue
    return None
