"""Decode base64 that comes in pieces, with the text of one piece in memory."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

__all__ = ["decode_base64"]

# ASCII characters that str.split() treats as whitespace.
_ASCII_SPACE = bytes(code for code in range(128) if chr(code).isspace())
_HELD_CHARACTERS = 8
"""Characters kept for the next piece: padding is valid only in the last two of all."""


def decode_base64(pieces: Iterable[str]) -> bytearray:
    """Decode the joined `pieces`; ignore whitespace in them.

    Raises ValueError where `base64.b64decode` with `validate` does.
    """
    decoded = bytearray()
    rest = b""
    for piece in pieces:
        rest += _without_space(piece)
        num_whole = (len(rest) - _HELD_CHARACTERS) // 4 * 4
        if num_whole <= 0:
            continue
        whole, rest = rest[:num_whole], rest[num_whole:]
        if b"=" in whole:
            raise binascii.Error("padding before the end")
        decoded += base64.b64decode(whole, validate=True)
    decoded += base64.b64decode(rest, validate=True)
    return decoded


def _without_space(piece: str) -> bytes:
    if not piece.isascii():
        piece = "".join(piece.split())
    return piece.encode("ascii").translate(None, _ASCII_SPACE)
