"""Document in a member of a JSON body: as base64, or as an address in S3."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

from handler.errors import RequestError
from handler.http.base64_text import (
    InvalidBase64Error,
    decode_base64,
    explain_non_base64,
)
from handler.http.json_body import LongText
from handler.http.options import MAX_OPTION_BYTES
from handler.storage.addresses import Address, parse_address

__all__ = ["parse_document"]

_S3_BEGINNING = re.compile(r"(?i)s3[an]?:/|arn:aws[a-z-]*:s3:")
"""Beginnings of texts that are meant as objects in S3, even if they are invalid."""
_DATA_SCHEME = "data:"
_BLANK_CHARACTERS = "\ufeff \t\r\n"
_MAX_HINT_CHARACTERS = 256


def parse_document(name: str, value: Any, *, is_uri: bool) -> bytearray | Address:
    """Return the document in a member of a JSON body, or the address given there.

    `is_uri` is true for a member that may only hold an address. Raises RequestError
    with an explanation if the value is neither a document nor an address.
    """
    if isinstance(value, LongText):
        pieces = value.pieces()
    elif isinstance(value, str):
        pieces = iter([value])
    else:
        kind = "a string" if is_uri else "a base64 string"
        raise RequestError(f"{name} must be {kind}")
    text = next(pieces).lstrip(_BLANK_CHARACTERS)
    # Base64 never contains a colon, so this cannot be a document.
    if is_uri or _S3_BEGINNING.match(text):
        return parse_address(text)
    if text[: len(_DATA_SCHEME)].lower() == _DATA_SCHEME:
        text = _skip_url_head(name, text)
    elif hint := explain_non_base64(text[:_MAX_HINT_CHARACTERS]):
        raise RequestError(f"{name} {hint}")
    try:
        return decode_base64(chain([text], pieces))
    except InvalidBase64Error as error:
        raise RequestError(f"{name} is not valid base64: {error}") from error


def _skip_url_head(name: str, url: str) -> str:
    """Return the data after the comma of a data: URL (RFC 2397)."""
    head, _, text = url.partition(",")
    if len(head) > MAX_OPTION_BYTES:
        raise RequestError(
            f"{name} has more than {MAX_OPTION_BYTES:,} characters before the "
            "comma of its data: URL"
        )
    if not head.rstrip().lower().endswith(";base64"):
        raise RequestError(
            f"{name} is a data: URL without ;base64 before its comma: only base64 is "
            "supported"
        )
    return text
