"""Access to the dictionaries and streams of one PDF page, which pdfium's API lacks."""

from __future__ import annotations

import re

import pypdfium2

from handler.preprocess.pdf.plain_copy import (
    REFERENCE,
    find_catalog,
    find_object,
    parse_objects,
    save_plain_copy,
)

__all__ = ["PageCopy", "copy_page", "refers_to_missing_contents"]

MAX_SEARCHED_BYTES = 8 << 20
"""Size above which a PDF is not searched for missing contents of a page."""

_MAX_PAGE_TREE = 100_000
_PAGE = re.compile(rb"/Type\s*/Page\b")
_PAGES = re.compile(rb"/Pages (\d+) 0 R")
_KIDS = re.compile(rb"/Kids\s*(?:\[([^\]]*)\]|(\d+) 0 R)")
_CONTENTS = re.compile(rb"/Contents\s*(?:(\d+) 0 R|\[([^\]]*)\])")
_FILTER = re.compile(rb"/Filter\s*(?:/([^\s\[\]<>()/%]+)|\[([^\]]*)\])")
_NAME = re.compile(rb"/([^\s\[\]<>()/%]+)")
_STRING = re.compile(rb"\((?:[^()\\]|\\.)*+(?:\)|\Z)|(?<!<)<[0-9A-Fa-f\s]+>", re.DOTALL)
_DICTIONARY = re.compile(rb"<<[^<>]*>>")
_MAX_NESTED = 20
_LENGTH = re.compile(rb"/Length (\d+)( 0 R)?")


class PageCopy:
    """The objects of a copy that consists of one page and the objects it refers to.

    The copy omits references to missing objects.
    """

    def __init__(self, copy: bytes) -> None:
        self._copy = copy
        self._objects = parse_objects(copy)

    def contents(self) -> list[bytes] | None:
        """Return the object numbers of the content streams.

        Returns None if /Contents is neither a stream nor an array of streams.
        """
        heads = (found[2] for found in self._objects.values())
        page = _own_entries(next((h for h in heads if _PAGE.search(h)), b""))
        found = _CONTENTS.search(page)
        if found is None:
            is_other = re.search(rb"/Contents(?!\w)(?!\s*null)", page)
            return None if is_other else []
        if found[1] is None:
            return REFERENCE.findall(found[2])
        head = self.head(found[1])
        is_array = head.lstrip().startswith(b"[")
        return REFERENCE.findall(head) if is_array else [found[1]]

    def with_subtype(self, subtype: bytes) -> list[bytes]:
        """Return the numbers of the objects with the given /Subtype."""
        pattern = re.compile(rb"/Subtype\s*/%s\b" % subtype)
        found = self._objects.items()
        return [number for number, each in found if pattern.search(each[2])]

    def head(self, number: bytes) -> bytes:
        """Return the text of an object without its stream; b"" if it is missing."""
        return find_object(self._objects, number)

    def is_null(self, number: bytes) -> bool:
        return self.head(number).strip() == b"null"

    def has_resource(self, name: bytes) -> bool:
        """True if a dictionary refers to an object under this name."""
        pattern = re.compile(rb"/%s\s+\d+ 0 R" % re.escape(name))
        return any(pattern.search(found[2]) for found in self._objects.values())

    def stream(self, number: bytes) -> bytes | None:
        """Return the encoded bytes of a stream; None if the object is not a stream."""
        found = self._objects.get(number)
        if found is None:
            return None
        first = found.end()
        if self._copy[first : first + 6] != b"stream":
            return None
        first += 8 if self._copy[first + 6 : first + 8] == b"\r\n" else 7
        length = _LENGTH.search(found[2])
        if length is None:
            return b""
        # The length may be an indirect object, which pdfium keeps if it is correct.
        digits = self.head(length[1]).strip() if length[2] else length[1]
        return self._copy[first : first + int(digits)] if digits.isdigit() else b""

    def filters(self, number: bytes) -> list[str] | None:
        """Return the names of a stream's filters; None if they cannot be parsed."""
        head = self.head(number)
        found = _FILTER.search(head)
        if found is None:
            return None if b"/Filter" in head else []
        names = [found[1]] if found[1] else _NAME.findall(found[2])
        return [name.decode("ascii", "replace") for name in names]

    def has_predictor(self, number: bytes) -> bool:
        """True if a stream has a predictor: its decoded data are differences."""
        head = self.head(number)
        return b"/Predictor" in head or bool(re.search(rb"/DecodeParms\s*\d", head))


def copy_page(document: pypdfium2.PdfDocument, number: int) -> PageCopy | None:
    """Copy page `number`, counted from 1; return None if the copy is too large."""
    with pypdfium2.PdfDocument.new() as single:
        single.import_pages(document, [number - 1])
        copy = save_plain_copy(single)
    return None if copy is None else PageCopy(copy)


def refers_to_missing_contents(document: pypdfium2.PdfDocument, number: int) -> bool:
    """True if page `number`, whose copy has no contents, refers to contents.

    Returns False also for a PDF larger than `MAX_SEARCHED_BYTES`.
    """
    copy = save_plain_copy(document, MAX_SEARCHED_BYTES)
    if copy is None:
        return False
    objects = parse_objects(copy)
    root = _PAGES.search(find_catalog(copy, objects))
    pending = [root[1]] if root else []
    left = number
    for _ in range(_MAX_PAGE_TREE):
        if not pending:
            break
        head = find_object(objects, pending.pop())
        kids = _KIDS.search(head)
        if kids is not None:
            parts = find_object(objects, kids[2]) if kids[2] else kids[1]
            pending += reversed(REFERENCE.findall(parts))
            continue
        left -= 1
        if left == 0:
            found = _CONTENTS.search(_own_entries(head))
            return found is not None and bool(found[1] or found[2].strip())
    return False


def _own_entries(head: bytes) -> bytes:
    """Return a dictionary with `{}` for nested dictionaries and without strings."""
    entries = _STRING.sub(b"()", head.strip().removeprefix(b"<<"))
    for _ in range(_MAX_NESTED):
        entries, num_replaced = _DICTIONARY.subn(b"{}", entries)
        if not num_replaced:
            break
    return entries
