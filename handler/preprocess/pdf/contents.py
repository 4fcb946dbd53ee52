"""Say why the content stream of a PDF page holds no objects."""

from __future__ import annotations

import base64
import binascii
import re
import zlib

import pypdfium2

from handler.preprocess.pdf.plain_copy import REFERENCE, objects_in, plain_copy

__all__ = ["contents_fault"]

_PAGE = re.compile(rb"/Type\s*/Page\b")
_CONTENTS = re.compile(rb"/Contents\s*(?:(\d+) 0 R|\[([^\]]*)\])")
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
    objects = objects_in(copy)
    page = next((each[2] for each in objects.values() if _PAGE.search(each[2])), b"")
    found = _CONTENTS.search(page)
    if found is None:
        return None
    references = [found[1]] if found[1] else REFERENCE.findall(found[2])
    for reference in references:
        stream = objects.get(reference)
        fault = "is missing" if stream is None else _stream_fault(copy, stream)
        if fault is not None:
            return f"its content stream {fault}"
    return None


def _stream_fault(copy: bytes, found: re.Match[bytes]) -> str | None:
    head, first = found[2], found.end()
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
    # The first code of nine bits should be 256.
    is_clear = data[:1] == b"\x80" and data[1:2] < b"\x80"
    if name == "LZWDecode" and data.strip() and not is_clear:
        raise ValueError("the first code does not clear the table")
    return None
