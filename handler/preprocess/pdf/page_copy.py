"""Access to the dictionaries and streams of one PDF page, which pdfium's API lacks."""

from __future__ import annotations

import re

import pypdfium2

from handler.preprocess.pdf.plain_copy import (
    REFERENCE,
    build_plain_copy,
    get_catalog_text,
    get_object_text,
    parse_objects,
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
    """Objects of a PDF of one page, as `build_plain_copy` returns it.

    Objects are named by their numbers, as bytes. References to objects that are missing
    in the original PDF are not in the copy.
    """

    def __init__(self, copy: bytes) -> None:
        self._copy = copy
        self._objects = parse_objects(copy)

    def find_content_streams(self) -> list[bytes] | None:
        """Return the object numbers of the page's content streams.

        Returns [] for a page without /Contents, and None if /Contents is not a
        reference or an array. The numbers may be those of objects that are not streams.
        """
        texts = (match[2] for match in self._objects.values())
        page = _flatten(next((text for text in texts if _PAGE.search(text)), b""))
        contents = _CONTENTS.search(page)
        if contents is None:
            is_other = re.search(rb"/Contents(?!\w)(?!\s*null)", page)
            return None if is_other else []
        if contents[1] is None:
            return REFERENCE.findall(contents[2])
        text = self.get_text(contents[1])
        is_array = text.lstrip().startswith(b"[")
        return REFERENCE.findall(text) if is_array else [contents[1]]

    def find_by_subtype(self, subtype: bytes) -> list[bytes]:
        """Return the numbers of the objects with the given /Subtype."""
        pattern = re.compile(rb"/Subtype\s*/%s\b" % subtype)
        return [
            number
            for number, match in self._objects.items()
            if pattern.search(match[2])
        ]

    def get_text(self, number: bytes) -> bytes:
        """Return the text of an object without its stream; b"" if it is missing."""
        return get_object_text(self._objects, number)

    def is_null(self, number: bytes) -> bool:
        """Return True if the object exists and is the null object."""
        return self.get_text(number).strip() == b"null"

    def has_resource(self, name: bytes) -> bool:
        """Return True if a dictionary of the copy has a reference by this name."""
        pattern = re.compile(rb"/%s\s+\d+ 0 R" % re.escape(name))
        return any(pattern.search(match[2]) for match in self._objects.values())

    def get_stream(self, number: bytes) -> bytes | None:
        """Return the encoded bytes of a stream.

        Returns None if the object is missing or not a stream, and b"" if the length of
        the stream is missing or malformed.
        """
        match = self._objects.get(number)
        if match is None:
            return None
        first = match.end()
        if self._copy[first : first + 6] != b"stream":
            return None
        first += 8 if self._copy[first + 6 : first + 8] == b"\r\n" else 7
        length = _LENGTH.search(match[2])
        if length is None:
            return b""
        # The length may be an indirect object, which pdfium keeps if it is correct.
        digits = self.get_text(length[1]).strip() if length[2] else length[1]
        return self._copy[first : first + int(digits)] if digits.isdigit() else b""

    def get_filters(self, number: bytes) -> list[str] | None:
        """Return the names of a stream's filters in the order of decoding.

        Returns [] if it has none, and None if they are null or not all names.
        """
        text = self.get_text(number)
        filters = _FILTER.search(text)
        if filters is None:
            return None if b"/Filter" in text else []
        if filters[2] and REFERENCE.search(filters[2]):
            return None
        names = [filters[1]] if filters[1] else _NAME.findall(filters[2])
        return [name.decode("ascii", "replace") for name in names]

    def has_predictor(self, number: bytes) -> bool:
        """Return True if a stream may have a predictor and thus hold differences.

        It may also have one if its decoding parameters are an indirect object.
        """
        text = self.get_text(number)
        return b"/Predictor" in text or bool(re.search(rb"/DecodeParms\s*\d", text))


def copy_page(document: pypdfium2.PdfDocument, number: int) -> PageCopy | None:
    """Copy page `number`, counted from 1, to a PDF of its own and parse its objects.

    Returns None if the copy is too large or cannot be written.
    """
    with pypdfium2.PdfDocument.new() as single:
        single.import_pages(document, [number - 1])
        copy = build_plain_copy(single)
    return None if copy is None else PageCopy(copy)


def refers_to_missing_contents(document: pypdfium2.PdfDocument, number: int) -> bool:
    """Return True if page `number`, counted from 1, refers to content streams.

    Call it for a page whose copy has no content streams: those that it refers to are
    then missing. Returns False also for a PDF larger than `MAX_SEARCHED_BYTES`.
    """
    copy = build_plain_copy(document, MAX_SEARCHED_BYTES)
    if copy is None:
        return False
    objects = parse_objects(copy)
    root = _PAGES.search(get_catalog_text(copy, objects))
    pending = [root[1]] if root else []
    num_left = number
    for _ in range(_MAX_PAGE_TREE):
        if not pending:
            break
        node = get_object_text(objects, pending.pop())
        kids = _KIDS.search(node)
        if kids is not None:
            array = get_object_text(objects, kids[2]) if kids[2] else kids[1]
            pending += reversed(REFERENCE.findall(array))
            continue
        num_left -= 1
        if num_left == 0:
            contents = _CONTENTS.search(_flatten(node))
            return contents is not None and bool(contents[1] or contents[2].strip())
    return False


def _flatten(dictionary: bytes) -> bytes:
    """Return the text of a dictionary with its nested dictionaries and strings emptied.

    A search in the result then finds entries of the dictionary itself only.
    """
    entries = _STRING.sub(b"()", dictionary.strip().removeprefix(b"<<"))
    for _ in range(_MAX_NESTED):
        entries, num_replaced = _DICTIONARY.subn(b"{}", entries)
        if not num_replaced:
            break
    return entries
