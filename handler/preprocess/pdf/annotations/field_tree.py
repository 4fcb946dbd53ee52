"""Bound on the form fields of a PDF, checked before pdfium expands them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from mmap import mmap

import pypdfium2

from handler.preprocess.pdf.plain_copy import REFERENCE, build_plain_copy, parse_objects

__all__ = ["has_bounded_fields"]

MAX_FIELDS = 100_000
"""Limit on the number of paths through the field tree.

The largest form among 971 public PDFs has 2,000."""

_KIDS = re.compile(rb"/Kids\s*(?:\[([^\]]*)\]|(\d+) 0 R)")
# A file with other spellings than these is checked in the copy that pdfium writes.
_PLAIN_KIDS = re.compile(rb"/Kids\s*+\[((?:\s*+\d++\s++\d++\s++R)*+)\s*+\]")
_PLAIN_STREAM = re.compile(rb"/ObjStm(?!\w)[^#>]{0,500}+>>\s*+stream\r?\n")
_PLAIN_REFERENCE = re.compile(rb"(\d+)\s+\d+\s+R")
_ESCAPED = re.compile(rb"/(?=\w{0,6}#)(?:K|#4[Bb]|O|#4[Ff])")
MAX_SCANNED_BYTES = 16 << 20
"""Size of a file, and of its decompressed object streams, above which the quick scan is
not attempted."""


def has_bounded_fields(data: mmap, document: pypdfium2.PdfDocument) -> bool:
    """Return True if pdfium can expand the fields of a form in bounded time.

    Several fields may have the same child. pdfium follows every path, so that 24 fields
    that each name the next one twice take minutes. `data` is the content from which
    `document` was opened; for most files a quick scan of it is sufficient. Returns
    False also for a document that is too large to be checked.
    """
    if _has_unique_children(data):
        return True
    copy = build_plain_copy(document)
    return copy is not None and _count_max_paths(copy) <= MAX_FIELDS


def _has_unique_children(data: mmap) -> bool:
    """Return True if no object occurs twice as a child in /Kids.

    Returns False also if a quick scan cannot decide.
    """
    children: list[bytes] = []
    try:
        for text in _iter_scanned_texts(data):
            arrays = _PLAIN_KIDS.findall(text)
            if len(arrays) != text.count(b"/Kids") or _ESCAPED.search(text):
                return False
            for array in arrays:
                children += _PLAIN_REFERENCE.findall(array)
    except (ValueError, zlib.error):
        return False
    return len(children) == len(set(children))


def _iter_scanned_texts(data: mmap) -> Iterator[bytes]:
    """Yield the bytes of a PDF and of its decompressed object streams.

    Raises ValueError or zlib.error for a file that is encrypted, large, or has
    spellings that the scan does not support.
    """
    if len(data) > MAX_SCANNED_BYTES or data.find(b"/Encrypt") >= 0:
        raise ValueError
    text = data[:]
    yield text
    streams = list(_PLAIN_STREAM.finditer(text))
    if len(streams) != text.count(b"/ObjStm"):
        raise ValueError
    remaining = MAX_SCANNED_BYTES
    for stream in streams:
        head = text[max(text.rfind(b"obj", 0, stream.start()), 0) : stream.end()]
        if b"FlateDecode" not in head or b"Parms" in head or b"[" in head:
            raise ValueError
        unpacked = zlib.decompressobj().decompress(text[stream.end() :], remaining)
        remaining -= len(unpacked)
        if remaining <= 0:
            raise ValueError
        yield unpacked


def _count_max_paths(copy: bytes) -> int:
    """Return the largest number of paths through /Kids from one object.

    Counting stops at one more than `MAX_FIELDS`.
    """
    if b"/Kids" not in copy:
        return 0
    kids: dict[bytes, list[bytes]] = {}
    arrays: dict[bytes, list[bytes]] = {}
    for number, match in parse_objects(copy).items():
        body = match[2]
        if b"/Kids" in body:
            kids[number] = []
            for inline, reference in _KIDS.findall(body):
                # A reference to an array counts as a child with the items as children.
                kids[number] += REFERENCE.findall(inline) or [reference]
        elif body.lstrip().startswith(b"["):
            arrays[number] = REFERENCE.findall(body)
    counts: dict[bytes, int] = {}
    return max((_count_paths(n, kids | arrays, counts) for n in kids), default=0)


def _count_paths(
    root: bytes, children: dict[bytes, list[bytes]], counts: dict[bytes, int]
) -> int:
    """Return the number of paths from the object `root`, at most `MAX_FIELDS` + 1.

    `children` has the object numbers of each object's children. The numbers of paths
    from all visited objects are added to `counts`.
    """
    # The tree may be deep, so there is no recursion.
    pending = [root]
    visiting: set[bytes] = set()
    while pending:
        number = pending[-1]
        if number in counts:
            pending.pop()
            continue
        if number in visiting:
            total = 1 + sum(counts.get(child, 1) for child in children.get(number, ()))
            counts[number] = min(total, MAX_FIELDS + 1)
            pending.pop()
            continue
        visiting.add(number)
        for child in children.get(number, ()):
            if child in visiting and child not in counts:
                # In a cycle, pdfium follows every path up to its recursion limit.
                counts[child] = MAX_FIELDS + 1
            elif child not in counts:
                pending.append(child)
    return counts[root]
