"""Access to the objects of a PDF in the uniform syntax in which pdfium writes them.

pdfium writes decrypted objects without object streams.
"""

from __future__ import annotations

import ctypes
import re

import pypdfium2
import pypdfium2.internal
import pypdfium2.raw as pdfium

__all__ = [
    "REFERENCE",
    "build_plain_copy",
    "get_catalog_text",
    "get_object_text",
    "parse_objects",
]

MAX_COPY_BYTES = 64 << 20

REFERENCE = re.compile(rb"(\d+) 0 R")
"""Pattern of a reference to an object in a copy; its group is the object number."""
_ROOT = re.compile(rb"/Root (\d+) 0 R")
_END_BYTES = 4096
_OBJECT = re.compile(rb"(?:^|[\r\n])(\d+) 0 obj(.*?)(?=endobj|stream)", re.DOTALL)


def build_plain_copy(
    document: pypdfium2.PdfDocument, max_bytes: int = MAX_COPY_BYTES
) -> bytes | None:
    """Return a copy of the PDF as pdfium writes it, with unchanged streams.

    pdfium's API gives no access to dictionaries; they can be parsed in the copy, which
    has a uniform syntax. Returns None if the copy would exceed `max_bytes`, and if
    pdfium fails to write it.
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


def parse_objects(copy: bytes) -> dict[bytes, re.Match[bytes]]:
    """Return a match for each object of a copy, by the object's number.

    Group 2 of a match is the text of the object without its stream.
    """
    return {match[1]: match for match in _OBJECT.finditer(copy)}


def get_object_text(objects: dict[bytes, re.Match[bytes]], number: bytes) -> bytes:
    """Return the text of an object without its stream; b"" if it is missing."""
    match = objects.get(number)
    return b"" if match is None else match[2]


def get_catalog_text(copy: bytes, objects: dict[bytes, re.Match[bytes]]) -> bytes:
    """Return the text of the document catalog of a copy; b"" if it is missing."""
    roots = _ROOT.findall(copy[-_END_BYTES:])
    return get_object_text(objects, roots[-1]) if roots else b""
