"""Base64 in pieces, against what the standard library makes of the whole."""

from __future__ import annotations

import base64
import binascii

import pytest
from hypothesis import given, strategies as st

from handler.base64_text import decode_base64

PIECES = st.lists(st.text("Aa+/= \n\u3000\u00e9\x1f", max_size=12), max_size=6)


def decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


@given(PIECES)
def test_pieces_are_decoded_as_the_whole_is(pieces):
    try:
        found = bytes(decode_base64(pieces))
    except ValueError:
        found = None

    assert found == decoded("".join(pieces))


@given(st.binary(max_size=200), st.integers(1, 30))
def test_content_comes_back_however_it_is_divided(content, step):
    text = base64.encodebytes(content).decode()
    pieces = [text[at : at + step] for at in range(0, len(text), step)]

    assert decode_base64(pieces) == content


@pytest.mark.parametrize("pieces", [["AA==", "AAAA" * 5], ["AAA", "A" * 30, "="]])
def test_padding_before_the_end_is_refused(pieces):
    with pytest.raises(ValueError, match=r".+"):
        decode_base64(pieces)
