"""Diagnosis of damaged content streams of a PDF page that renders without ink."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator

import pypdfium2

from handler.preprocess.pdf.page_copy import PageCopy, refers_to_missing_contents

__all__ = ["find_contents_fault"]

_OPERATORS = frozenset(
    b"b B b* B* BDC BI BMC BT BX c cm CS cs d d0 d1 Do DP EI EMC ET EX f F f* G g gs h "
    b"i ID j J K k l m M MP n q Q re RG rg ri s S SC sc SCN scn sh T* Tc Td TD Tf Tj "
    b"TJ TL Tm Tr Ts Tw Tz v w W W* y ' \"".split()
)
# The tokens are comments, strings with up to three levels of parentheses, other
# operands, and other words. An unterminated string extends to the end of the data, so
# that it is not scanned repeatedly.
_STRING = rb"\((?:[^()\\]|\\.|\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*+\))*+\))*+(?:\)|\Z)"
_TOKEN = re.compile(
    rb"%[^\r\n]*|(?P<operand>"
    + _STRING
    + rb"|<[0-9A-Fa-f\s]*>|<<|>>|[\[\]]|/[^\s\0()<>\[\]{}/%]*"
    rb"|[-+]?(?:\d+\.?\d*|\.\d+)(?![^\s\0()<>\[\]{}/%])|(?:true|false|null)\b)"
    rb"|(?P<word>[^\s\0()<>\[\]{}/%]+|[()<>{}])",
    re.DOTALL,
)
# Operators that always render an object, unless the object they name is missing.
_RENDERING_OPERATOR = re.compile(rb"(?<![\w/])(?:Do|sh|EI)\b")
_XOBJECT_NAME = re.compile(rb"/([^\s\0()<>\[\]{}/%]+)\s+Do\b")
_MAX_DECODED_BYTES = 1 << 20
_MAX_TOKENS_BYTES = 64 << 10
_MAX_STREAMS = 100
"""Number of streams of the page and of its forms that are checked, and of the names
that are checked in each."""
_FULL_FILTER_NAMES = {
    "Fl": "FlateDecode",
    "A85": "ASCII85Decode",
    "AHx": "ASCIIHexDecode",
    "LZW": "LZWDecode",
    "RL": "RunLengthDecode",
}


def find_contents_fault(
    document: pypdfium2.PdfDocument, number: int, copy: PageCopy, *, has_objects: bool
) -> str | None:
    """Return a description of the first damage to the contents of page `number`.

    Call it for a page that rendered without ink, to distinguish an empty page from a
    damaged one. pdfium decodes as much of a stream as it can and reports no errors, so
    this function decodes the streams of the page and of its form XObjects in `copy`
    itself. `has_objects` is true if pdfium found objects on the page. The description
    is the part of a sentence that follows "page 1 cannot be rendered: ". Returns None
    if no damage is found.
    """
    references = copy.find_content_streams()
    if references is None:
        return "its content stream is not a stream"
    if not references and refers_to_missing_contents(document, number):
        return "its content stream is missing"
    for reference in list(dict.fromkeys(references))[:_MAX_STREAMS]:
        data, fault = _decode_stream(copy, reference)
        if fault is None and data is not None:
            if not has_objects and _RENDERING_OPERATOR.search(data):
                fault = "refers to missing objects"
            else:
                fault = _find_operators_fault(copy, data)
        if fault is not None:
            return f"its content stream {fault}"
    for reference in copy.find_by_subtype(b"Form")[:_MAX_STREAMS]:
        data, fault = _decode_stream(copy, reference)
        if fault is None and data is not None:
            fault = _find_operators_fault(copy, data)
        if fault is not None:
            return f"the content stream of a form XObject {fault}"
    return None


def _decode_stream(copy: PageCopy, reference: bytes) -> tuple[bytes | None, str | None]:
    """Return the first decoded bytes of a stream, and a description of its damage.

    The description is None for an intact stream. The bytes are None for a damaged
    stream, for the null object, and for a stream whose filters or predictor are not
    supported here.
    """
    if copy.is_null(reference):
        return None, None
    data = copy.get_stream(reference)
    if data is None:
        return None, "is not a stream"
    filters = copy.get_filters(reference)
    if filters is None:
        return None, None
    if not data.strip():
        return b"", None
    for filter_name in filters:
        name = _FULL_FILTER_NAMES.get(filter_name, filter_name)
        try:
            decoded = _apply_filter(name, data)
        except (ValueError, zlib.error, binascii.Error):
            return None, f"({name[:40]}) cannot be decoded"
        if decoded is None:
            return None, None
        data = decoded
    return (None if copy.has_predictor(reference) else data), None


def _find_operators_fault(copy: PageCopy, data: bytes) -> str | None:
    """Return a description of the damage to decoded contents; None if there is none.

    Contents are damaged if most of their words are no operators, or if they render an
    object that no dictionary of `copy` names.
    """
    num_valid = num_unknown = 0
    has_operands = False
    for operand, word in _iter_tokens(data[:_MAX_TOKENS_BYTES]):
        has_operands = has_operands or bool(operand)
        if word:
            num_valid += word in _OPERATORS
            num_unknown += word not in _OPERATORS
    if num_unknown > num_valid or (has_operands and not num_valid):
        return "has no valid operators"
    names = set(_XOBJECT_NAME.findall(data[:_MAX_TOKENS_BYTES]))
    if any(not copy.has_resource(name) for name in list(names)[:_MAX_STREAMS]):
        return "refers to missing objects"
    return None


def _iter_tokens(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each token as an operand and a word, one of which is empty.

    Both are empty for a comment.
    """
    for token in _TOKEN.finditer(data):
        yield token["operand"] or b"", token["word"] or b""


def _apply_filter(name: str, data: bytes) -> bytes | None:
    """Decode data with the filter `name`; return None if it is not supported here.

    The result may be cut off after `_MAX_DECODED_BYTES`. Raises ValueError,
    binascii.Error or zlib.error for damaged data, and ValueError for filters that
    content streams cannot have.
    """
    if name == "FlateDecode":
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
    if name == "RunLengthDecode":
        return _decode_run_length(data)
    if name == "LZWDecode":
        # The first code of nine bits should be 256.
        if not (data[:1] == b"\x80" and data[1:2] < b"\x80"):
            raise ValueError("the first code does not clear the table")
        return None
    # For Crypt, pdfium has already decrypted the data, or they are not encrypted.
    if name == "Crypt":
        return data
    raise ValueError("the filter is for images, or unknown")


def _decode_run_length(data: bytes) -> bytes:
    """Decode run-length data up to their end marker or `_MAX_DECODED_BYTES`."""
    decoded = bytearray()
    index = 0
    while index < len(data) and len(decoded) < _MAX_DECODED_BYTES:
        length = data[index]
        if length == 128:
            break
        if length < 128:
            decoded += data[index + 1 : index + 2 + length]
            index += 2 + length
        else:
            decoded += data[index + 1 : index + 2] * (257 - length)
            index += 2
    return bytes(decoded)
