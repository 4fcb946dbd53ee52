"""Say why the content stream of a PDF page holds no objects."""

from __future__ import annotations

import base64
import binascii
import re
import zlib

import pypdfium2

from handler.preprocess.pdf.plain_copy import plain_copy

__all__ = ["contents_fault"]

_PAGE = re.compile(rb"/Type\s*/Page\b")
_CONTENTS = re.compile(rb"/Contents\s*(?:(\d+) 0 R|\[([^\]]*)\])")
_OBJECT = re.compile(rb"(?:^|[\r\n])(\d+) 0 obj")
_REFERENCE = re.compile(rb"(\d+) 0 R")
_FILTER = re.compile(rb"/Filter\s*(?:/(\w+)|\[([^\]]*)\])")
_LENGTH = re.compile(rb"/Length (\d+)")
# Operators that show something, unless what they name is missing.
_SHOWS = re.compile(rb"(?<![\w/])(?:Do|sh|EI)\b")
_MAX_DECODED_BYTES = 1 << 20


def contents_fault(document: pypdfium2.PdfDocument, number: int) -> str | None:
    """Return what is wrong with the contents of page `number`, which gave no objects.

    None for a page that is empty. pdfium decodes as much of a stream as it can and
    reports nothing, so the page is copied and its streams are decoded here.
    """
    with pypdfium2.PdfDocument.new() as single:
        single.import_pages(document, [number - 1])
        copy = plain_copy(single)
    if copy is None:
        return None
    starts = {match[1]: match.end() for match in _OBJECT.finditer(copy)}
    page = next((body for body in _bodies(copy, starts) if _PAGE.search(body)), None)
    found = _CONTENTS.search(page) if page is not None else None
    if found is None:
        return None
    references = [found[1]] if found[1] else _REFERENCE.findall(found[2])
    for reference in references:
        start = starts.get(reference)
        fault = "is missing" if start is None else _stream_fault(copy, start)
        if fault is not None:
            return f"its content stream {fault}"
    return None


def _bodies(copy: bytes, starts: dict[bytes, int]) -> list[bytes]:
    return [_dictionary(copy, start) for start in starts.values()]


def _dictionary(copy: bytes, start: int) -> bytes:
    """Return an object up to its stream or its end."""
    ends = [copy.find(word, start) for word in (b"stream", b"endobj")]
    return copy[start : min((end for end in ends if end >= 0), default=len(copy))]


def _stream_fault(copy: bytes, start: int) -> str | None:
    head = _dictionary(copy, start)
    first = start + len(head)
    if copy[first : first + 6] != b"stream":
        return None
    first += 8 if copy[first + 6 : first + 8] == b"\r\n" else 7
    length = _LENGTH.search(head)
    data = copy[first : first + int(length[1])] if length else b""
    filters = _filters(head)
    for name in filters:
        try:
            decoded = _decoded(name, data)
        except (ValueError, zlib.error, binascii.Error):
            return f"({name}) cannot be decoded"
        if decoded is None:
            return None
        data = decoded
    return "names what is missing" if _SHOWS.search(data) else None


def _filters(head: bytes) -> list[str]:
    found = _FILTER.search(head)
    if found is None:
        return []
    names = [found[1]] if found[1] else re.findall(rb"/(\w+)", found[2])
    return [name.decode("ascii", "replace") for name in names]


def _decoded(name: str, data: bytes) -> bytes | None:
    """Return the decoded data; None for a filter that is not checked.

    Raises ValueError, binascii.Error or zlib.error for broken data.
    """
    if name == "FlateDecode" and data.strip():
        stream = zlib.decompressobj()
        decoded = stream.decompress(data, _MAX_DECODED_BYTES)
        if not (stream.eof or stream.unconsumed_tail):
            raise ValueError("the stream ends early")
        return decoded
    if name == "ASCII85Decode":
        return base64.a85decode(data.partition(b"~>")[0].removeprefix(b"<~"))
    if name == "ASCIIHexDecode":
        digits = b"".join(data.partition(b">")[0].split())
        return binascii.unhexlify(digits + b"0" * (len(digits) % 2))
    if (
        name == "LZWDecode"
        and data.strip()
        and (data[0], data[1:2] < b"\x80")
        != (
            0x80,
            True,
        )
    ):
        raise ValueError("the first code does not clear the table")
    return None
