"""Gzip within a limit: results, rejections and memory."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given, strategies as st

from handler.errors import (
    DocumentTooLargeError,
    RequestError,
    UnsupportedMediaTypeError,
)
from handler.storage.compression import MAX_MEMBERS, gunzip, is_gzip, is_gzip_encoding

MEGABYTE = 1024 * 1024


def decompress(data: bytes, max_bytes: int = MEGABYTE) -> bytes:
    return b"".join(gunzip([data], "the body", max_bytes))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 50))
def test_gzip_members_do_not_depend_on_the_pieces(contents, step):
    data = b"".join(map(gzip.compress, contents)) + bytes(3)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]

    assert b"".join(gunzip(pieces, "the body", MEGABYTE)) == b"".join(contents)


def test_as_many_bytes_as_the_limit_are_accepted():
    assert decompress(gzip.compress(b"x" * 5000), 5000) == b"x" * 5000


def test_one_byte_above_the_limit_is_too_large():
    with pytest.raises(
        DocumentTooLargeError, match="the body exceeds the limit of 4,999 bytes"
    ):
        decompress(gzip.compress(b"x" * 5000), 4999)


def test_a_gzip_bomb_is_rejected_in_little_memory():
    layer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(layer.compress(bytes(MEGABYTE)) for _ in range(60))
    bomb += layer.flush()
    assert len(bomb) < MEGABYTE
    tracemalloc.start()

    with pytest.raises(DocumentTooLargeError):
        for _ in gunzip([bomb], "the body", 40 * MEGABYTE):
            pass

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MEGABYTE


@given(st.data())
def test_truncated_gzip_is_a_bad_request(data):
    compressed = gzip.compress(b"words and more words" * 20)
    end = data.draw(st.integers(0, len(compressed) - 1))

    with pytest.raises(RequestError, match="truncated gzip data") as caught:
        decompress(compressed[:end])

    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("change", ["check sum", "contents", "trailing bytes"])
def test_damaged_data_are_a_bad_request(change):
    compressed = bytearray(gzip.compress(bytes(range(256)) * 9))
    if change == "trailing bytes":
        compressed += b"PK"
    else:
        compressed[-8 if change == "check sum" else 12] ^= 255

    with pytest.raises(RequestError, match=r"(damaged|truncated) gzip data") as caught:
        decompress(bytes(compressed))

    assert caught.value.code == "bad_request"


def test_too_many_members_are_a_bad_request():
    with pytest.raises(RequestError, match="more than 10,000 gzip members"):
        decompress(gzip.compress(b"") * (MAX_MEMBERS + 1))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("x-gzip", True),
        (" GZIP ", True),
        ("identity, gzip", True),
    ],
)
def test_content_encoding_is_gzip_or_none(header, expected):
    assert is_gzip_encoding(header) is expected


@pytest.mark.parametrize(
    "header", ["deflate", "br", "zstd", "compress", "gzip, gzip", "aws-chunked", "\x00"]
)
def test_any_other_coding_is_rejected_by_name(header):
    with pytest.raises(UnsupportedMediaTypeError, match="is not supported: compress"):
        is_gzip_encoding(header)


def test_content_coding_aws_chunked_is_ignored():
    assert is_gzip_encoding("aws-chunked,gzip", ignored=["aws-chunked"])


def test_gzip_is_distinguished_from_document_types():
    assert is_gzip(gzip.compress(b""))
    assert not any(map(is_gzip, [b"", b"\x1f\x8b", b"\x89PNG", b"%PDF-", b"II*\0"]))
