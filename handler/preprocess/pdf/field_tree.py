"""Count the form fields of a PDF before pdfium expands them."""

from __future__ import annotations

import re

import pypdfium2

from handler.preprocess.pdf.plain_copy import plain_copy

__all__ = ["has_bounded_fields"]

MAX_FIELDS = 100_000
"""Fields and their parts, counted once for each path that leads to them.

The largest form among 971 public PDFs has 2,000."""

_KIDS = re.compile(rb"/Kids\s*(?:\[([^\]]*)\]|(\d+) 0 R)")
_OBJECT = re.compile(rb"(?:^|[\r\n])(\d+) 0 obj(.*?)(?=endobj|stream)", re.DOTALL)
_REFERENCE = re.compile(rb"(\d+) 0 R")


def has_bounded_fields(document: pypdfium2.PdfDocument) -> bool:
    """True if pdfium can expand the fields of a form in bounded time.

    A field may be named as a part of several others. pdfium follows every path, so that
    24 fields that each name the next one twice take it minutes.
    """
    copy = plain_copy(document)
    return copy is not None and _num_paths(copy) <= MAX_FIELDS


def _num_paths(copy: bytes) -> int:
    """Return the number of paths through /Kids, at most one more than `MAX_FIELDS`."""
    if b"/Kids" not in copy:
        return 0
    kids: dict[bytes, list[bytes]] = {}
    arrays: dict[bytes, list[bytes]] = {}
    for number, body in _OBJECT.findall(copy):
        if b"/Kids" in body:
            kids[number] = []
            for inline, reference in _KIDS.findall(body):
                # A reference to an array counts as a part whose parts are its items.
                kids[number] += _REFERENCE.findall(inline) or [reference]
        elif body.lstrip().startswith(b"["):
            arrays[number] = _REFERENCE.findall(body)
    counts: dict[bytes, int] = {}
    return max((_count(n, kids | arrays, counts) for n in kids), default=0)


def _count(
    root: bytes, parts: dict[bytes, list[bytes]], counts: dict[bytes, int]
) -> int:
    """Count the paths that begin at `root`, without recursion: a tree may be deep."""
    pending = [root]
    visiting: set[bytes] = set()
    while pending:
        number = pending[-1]
        if number in counts:
            pending.pop()
            continue
        if number in visiting:
            total = 1 + sum(counts.get(part, 1) for part in parts.get(number, ()))
            counts[number] = min(total, MAX_FIELDS + 1)
            pending.pop()
            continue
        visiting.add(number)
        for part in parts.get(number, ()):
            if part in visiting and part not in counts:
                # A cycle, in which pdfium takes every turn up to a depth.
                counts[part] = MAX_FIELDS + 1
            elif part not in counts:
                pending.append(part)
    return counts[root]
