"""Base64 in pieces, compared with the standard library's decoder."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from handler.http.base64_text import (
    InvalidBase64Error,
    decode_base64,
    explain_non_base64,
)

PIECES = st.lists(
    st.text("Aa+/-_= \n%2Bbf\u3000\u00e9\x1f\ufeff", max_size=12), max_size=6
)
CONTENT = st.binary(max_size=200)


def decode_reference(text: str) -> bytes | None:
    """Decode the whole text; return None if it is not base64."""
    text = text.removeprefix("\ufeff")
    has_blanks = " " in text.strip()
    text = "".join(text.split())
    text = re.sub("%([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), text)
    text = "".join(text.split()).replace("-", "+").replace("_", "/")
    if "=" not in text and not has_blanks:
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def split_text(text: str, step: int) -> list[str]:
    return [text[at : at + step] for at in range(0, len(text), step)]


@given(PIECES)
def test_pieces_are_decoded_as_the_whole_is(pieces):
    try:
        decoded = bytes(decode_base64(pieces))
    except InvalidBase64Error:
        decoded = None

    expected = decode_reference("".join(pieces))
    # A blank between two pieces is not noticed, so such text may be accepted.
    has_blank = " " in "".join(pieces)
    assert decoded == expected or (expected is None and has_blank)


SPELLINGS = {
    "lines": lambda content: base64.encodebytes(content).decode(),
    "long lines": lambda content: base64.b64encode(content).decode() + "\r\n",
    "no padding": lambda content: base64.b64encode(content).decode().rstrip("="),
    "url-safe": lambda content: base64.urlsafe_b64encode(content).decode(),
    "unpadded url-safe": lambda content: (
        base64.urlsafe_b64encode(content).decode().rstrip("=")
    ),
    "percent-coded": lambda content: quote(base64.b64encode(content), safe=""),
    "percent-coded lines": lambda content: quote(base64.encodebytes(content), safe=""),
    "byte order mark": lambda content: "\ufeff" + base64.b64encode(content).decode(),
    "percent-coded mark": lambda content: (
        quote(b"\xef\xbb\xbf") + quote(base64.b64encode(content), safe="")
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(content=CONTENT, step=st.integers(1, 30))
def test_every_spelling_is_decoded_in_pieces_of_any_size(spelling, content, step):
    text = SPELLINGS[spelling](content)

    assert decode_base64(split_text(text, step)) == content


@pytest.mark.parametrize("pieces", [["AA==", "AAAA" * 5], ["AAA", "A" * 30, "="]])
def test_padding_before_the_end_is_refused(pieces):
    with pytest.raises(InvalidBase64Error, match=r"padding"):
        decode_base64(pieces)


@pytest.mark.parametrize("text", ["A", "AAAAA", "AA=", "AAAA=", "A===", "====", "%3D"])
def test_text_of_a_wrong_length_is_refused(text):
    with pytest.raises(InvalidBase64Error, match="ends early, or has the wrong"):
        decode_base64([text])


@pytest.mark.parametrize("text", ["AA%zzz", "A%", "AA%2", "%252B", "AA.A", "\u00c4AAA"])
def test_foreign_characters_are_refused(text):
    with pytest.raises(InvalidBase64Error, match="characters that base64 has not"):
        decode_base64([text])


def test_error_of_text_with_blanks_mentions_plus():
    text = base64.b64encode(b"abc" + b"\xfb\xef\xbe" * 7 + b"a").decode().rstrip("=")

    with pytest.raises(InvalidBase64Error, match=r"blanks, perhaps in place of \+"):
        decode_base64([text.replace("+", " ", 1)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"iVBORw0KGgo="', "contains quotes"),
        ("b'iVBORw0KGgo='", "contains quotes"),
        ("https://example.org/a.png", "is a URL"),
        ("HTTP://example.org/a.png", "is a URL"),
        ("https%3A%2F%2Fexample.org%2Fa.png", "is a URL"),
        ("%EF%BB%BFhttps%3a//example.org/a.png", "is a URL"),
        ("gs://scans/a.pdf", "is a URL"),
        ("ftp://example.org/a", "is a URL"),
        ("sftp%3A//example.org/scan%201", "is a URL"),
        ("abfss://scans@account.dfs.core.windows.net/a.pdf", "is a URL"),
        ("blob:https://example.org/1", "is a URL"),
        ("www.example.org/a.png", "is a URL"),
        ("my scan 1.pdf", "name or path of a file"),
        ("/home/me/my scan.pdf", "name or path of a file"),
        ("scan%201.pdf", "name or path of a file"),
        ("Rechnung, Juni + Juli; 50 %.jpeg", "name or path of a file"),
        ("2026/" * 45 + "scan 1.tiff", "name or path of a file"),
        ("/etc/hosts", "name or path of a file"),
        ("/home/me/scan", "name or path of a file"),
        ("./scan", "name or path of a file"),
        ("~/scan", "name or path of a file"),
        ("C:\\scans\\a", "name or path of a file"),
        ("file:///scan.png", "name or path of a file"),
        ("scans/page-1.png", "name or path of a file"),
        ("89504e470d0a1a0a" * 8, "hexadecimal"),
    ],
)
def test_kind_of_non_base64_text_is_named(text, words):
    assert words in str(explain_non_base64(text))


@given(
    st.sampled_from(
        [
            *(b"\x89PNG", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"BM", b"RIFF"),
            *(b"%PDF-", b"\xff\x4f\xff\x51", b"MM\0*", b"P6", b"\0\0\0\x1cftyp"),
        ]
    ),
    st.binary(max_size=200),
)
def test_base64_of_a_document_is_not_called_invalid(magic, rest):
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        text = encode(magic + rest).decode()
        assert explain_non_base64(text) is None
        assert explain_non_base64(quote(text, safe="")) is None
