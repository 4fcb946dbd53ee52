"""Base64 decoder for text in pieces, which needs the memory of one piece."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from urllib.parse import unquote, unquote_to_bytes

__all__ = ["InvalidBase64Error", "decode_base64", "explain_non_base64"]

# ASCII characters that str.split() treats as whitespace.
_ASCII_SPACE = bytes(code for code in range(128) if chr(code).isspace())
_HELD_CHARACTERS = 8
"""Characters kept for the next piece, since padding is valid only at the end of all."""
_STANDARD = bytes.maketrans(b"-_", b"+/")
"""Translation from the alphabet for URLs and file names (RFC 4648, section 5)."""
_ESCAPE_CHARACTERS = 3
_BYTE_ORDER_MARK = "\ufeff"
_ESCAPED_MARK = b"\xef\xbb\xbf"
"""A byte order mark in UTF-8, which percent-coded text has as %EF%BB%BF."""

_QUOTES = ('"', "'", '\\"', "b'", 'b"')
_URL = re.compile(r"(?i)(?!file:)[a-z][a-z0-9+.-]{1,20}://|(?:blob|mailto):|www\.")
# Dots, colons, backslashes and tildes do not occur in base64. A slash at the beginning
# can be base64: that of a JPEG begins with /9j/, and that of a JPEG 2000 codestream
# with /0//.
_PATH = re.compile(
    r"(?i)file:|[a-z]:[\\/]|\\\\|~[\\/]|\.{1,2}[\\/]|/(?!9j/|0//)"
    r"|[^\r\n]{1,250}\.[a-z]\w{1,3}$"
)
# The first bytes of PDF, PNG, JPEG, GIF, TIFF, BMP and WebP.
_HEXADECIMAL = re.compile(
    r"(?i)(?:0x|\\x)?(?:25504446|89504e47|ffd8ff|47494638|49492a00|4d4d002a|424d|52494646)"
    r"[0-9a-f]{32}"
)


class InvalidBase64Error(ValueError):
    """A text is not base64; the message says why."""


def decode_base64(pieces: Iterable[str]) -> bytearray:
    """Decode the joined `pieces`.

    Accepts both alphabets, with or without padding, and percent-encoding such as `%2B`
    for `+`. Ignores whitespace, and a byte order mark at the beginning. Raises
    InvalidBase64Error for any other text, and for text with blanks whose padding is
    missing, because form decoders replace `+` by a blank.
    """
    text_filter = _Base64Filter()
    decoded = bytearray()
    rest = b""
    for piece in pieces:
        rest += text_filter.filter_piece(piece)
        if not decoded:
            rest = rest.removeprefix(_ESCAPED_MARK)
        num_whole = (len(rest) - _HELD_CHARACTERS) // 4 * 4
        if num_whole <= 0:
            continue
        whole, rest = rest[:num_whole], rest[num_whole:]
        if b"=" in whole:
            raise InvalidBase64Error("it continues after its padding")
        decoded += _decode(whole)
    rest += text_filter.flush()
    if not decoded:
        rest = rest.removeprefix(_ESCAPED_MARK)
    data = rest.rstrip(b"=")
    num_padding = len(rest) - len(data)
    num_missing = -len(data) % 4
    if text_filter.has_blanks and num_padding != num_missing:
        raise InvalidBase64Error("it has blanks, perhaps in place of +")
    if num_missing == 3 or num_padding not in (0, num_missing):
        raise InvalidBase64Error("it ends early, or has the wrong padding")
    # Append in place: a copy of a document of 100 MB would double the memory.
    decoded += _decode(data + b"=" * num_missing)
    return decoded


def explain_non_base64(head: str) -> str | None:
    """Return a clause on why a text is not base64 and what to send instead.

    `head` is the beginning of the text. Returns None if the text may be base64.
    """
    if "%" in head:
        head = unquote(head)
    head = head.removeprefix(_BYTE_ORDER_MARK)
    if head.startswith(_QUOTES):
        return "contains quotes: send the base64 text without further quotes"
    if _URL.match(head):
        return (
            "is a URL, and documents are not fetched from the web: send the document "
            "as base64, or upload it to S3 and send s3://bucket/key"
        )
    if _PATH.match(head):
        return (
            "is the name or path of a file, which the service cannot see: send the "
            "file's content as base64"
        )
    if _HEXADECIMAL.match(head):
        return "is hexadecimal: send base64"
    return None


class _Base64Filter:
    """Filter that removes whitespace and escapes, and maps to the standard alphabet."""

    def __init__(self) -> None:
        self.has_blanks = False
        """True if there is a blank within a piece."""
        self._held = b""
        self._has_begun = False

    def filter_piece(self, piece: str) -> bytes:
        """Return the filtered bytes of a piece, after those held back before it.

        An escape that may continue in the next piece is held back. Raises
        InvalidBase64Error for characters other than ASCII and whitespace.
        """
        if not self._has_begun and piece:
            piece, self._has_begun = piece.removeprefix(_BYTE_ORDER_MARK), True
        self.has_blanks = self.has_blanks or " " in piece.strip()
        text = self._held + _remove_space(piece)
        # An escape may be divided between two pieces.
        start = text.rfind(b"%", max(0, len(text) - _ESCAPE_CHARACTERS + 1))
        if start < 0:
            start = len(text)
        self._held = text[start:]
        return _unescape(text[:start])

    def flush(self) -> bytes:
        """Return the bytes that were held back."""
        return _unescape(self._held)


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidBase64Error("it has characters that base64 has not") from error


def _unescape(text: bytes) -> bytes:
    if b"%" in text:
        text = unquote_to_bytes(text).translate(None, _ASCII_SPACE)
    return text.translate(_STANDARD)


def _remove_space(piece: str) -> bytes:
    if not piece.isascii():
        piece = "".join(piece.split())
    try:
        return piece.encode("ascii").translate(None, _ASCII_SPACE)
    except UnicodeEncodeError as error:
        raise InvalidBase64Error("it has characters that base64 has not") from error
