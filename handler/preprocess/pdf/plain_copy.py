"""The objects of a PDF as pdfium writes them: decrypted names, no object streams."""

from __future__ import annotations

import ctypes
import re

import pypdfium2
import pypdfium2.internal
import pypdfium2.raw as pdfium

__all__ = ["REFERENCE", "object_in", "objects_in", "plain_copy", "root_in"]

MAX_COPY_BYTES = 64 << 20

REFERENCE = re.compile(rb"(\d+) 0 R")
"""A reference to an object, in the spelling of a copy; its group is the number."""
_ROOT = re.compile(rb"/Root (\d+) 0 R")
_END_BYTES = 4096
_OBJECT = re.compile(rb"(?:^|[\r\n])(\d+) 0 obj(.*?)(?=endobj|stream)", re.DOTALL)


def plain_copy(
    document: pypdfium2.PdfDocument, max_bytes: int = MAX_COPY_BYTES
) -> bytes | None:
    """Return the PDF with every object written out, its streams as they were encoded.

    pdfium has no access to dictionaries; a copy shows them in one spelling. None for a
    copy of more than `max_bytes`.
    """
    copy = bytearray()

    def write(_: object, chunk: int, num_bytes: int) -> int:
        if len(copy) + num_bytes > max_bytes:
            return 0
        copy.extend(ctypes.string_at(chunk, num_bytes))
        return 1

    target = pdfium.FPDF_FILEWRITE(version=1)
    pypdfium2.internal.set_callback(target, "WriteBlock", write)
    if not pdfium.FPDF_SaveAsCopy(document, target, 0):
        return None
    return bytes(copy)


def objects_in(copy: bytes) -> dict[bytes, re.Match[bytes]]:
    """Return the objects of a copy by number.

    Group 2 of a match is the object up to its stream or its end.
    """
    return {match[1]: match for match in _OBJECT.finditer(copy)}


def object_in(objects: dict[bytes, re.Match[bytes]], number: bytes) -> bytes:
    """Return an object up to its stream or its end; b"" if it is missing."""
    found = objects.get(number)
    return b"" if found is None else found[2]


def root_in(copy: bytes, objects: dict[bytes, re.Match[bytes]]) -> bytes:
    """Return the catalog of a copy; b"" if it is not found."""
    roots = _ROOT.findall(copy[-_END_BYTES:])
    return object_in(objects, roots[-1]) if roots else b""
