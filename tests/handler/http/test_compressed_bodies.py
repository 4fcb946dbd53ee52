"""Requests whose body or document is compressed."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from handler.errors import (
    DocumentTooLargeError,
    RequestError,
    UnsupportedMediaTypeError,
)
from handler.http.request import OCRRequest, parse_request
from handler.schema import Options

PNG = b"\x89PNG\r\n\x1a\n"
JSON = "application/json"
FORM = "multipart/form-data; boundary=x"
GZIP = {"content-encoding": "gzip"}
BODY = json.dumps({"image": base64.b64encode(PNG).decode(), "pages": "2"}).encode()
PARTS = (
    b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n%s\r\n'
    b'--x\r\nContent-Disposition: form-data; name="pages"\r\n\r\n2\r\n--x--' % PNG
)


def request(
    body: bytes,
    content_type: str | None,
    max_document_bytes: int = 1000,
    **headers: str,
) -> OCRRequest:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        sent["content-type"] = content_type
    return parse_request(
        {"body": bytearray(body)}, sent, max_document_bytes=max_document_bytes
    )


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", None])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [(BODY, JSON), (BODY, "application/jsonlines"), (PARTS, FORM)],
)
def test_a_compressed_body_is_read_with_its_options(body, content_type, encoding):
    headers = {} if encoding is None else {"content_encoding": encoding}

    parsed = request(gzip.compress(body), content_type, **headers)

    assert parsed.document == PNG
    assert parsed.options == Options(pages="2")


@pytest.mark.parametrize("encoding", ["gzip", None])
def test_a_compressed_document_keeps_its_declared_type(encoding):
    headers = {} if encoding is None else {"content_encoding": encoding}

    parsed = request(gzip.compress(PNG), "image/png", **headers)

    assert parsed.document == PNG
    assert parsed.media_type == "image/png"
    assert parsed.digest == request(PNG, "image/png").digest


@pytest.mark.parametrize(
    "content_type", ["application/gzip", "application/x-gzip", None]
)
def test_type_of_a_gzip_document_is_detected_from_its_bytes(content_type):
    parsed = request(gzip.compress(PNG), content_type)

    assert parsed.document == PNG
    assert parsed.media_type is None


def test_a_compressed_document_in_base64_is_decompressed():
    encoded = base64.b64encode(gzip.compress(PNG)).decode()

    parsed = request(json.dumps({"document": encoded}).encode(), JSON)

    assert parsed.document == PNG


@pytest.mark.parametrize("encoding", ["gzip", None])
def test_size_limit_applies_to_the_decompressed_document(encoding):
    headers = {} if encoding is None else {"content_encoding": encoding}

    with pytest.raises(DocumentTooLargeError, match="exceeds the limit of 1,000 bytes"):
        request(gzip.compress(bytes(1001)), "image/png", **headers)


@pytest.mark.parametrize("content_type", [JSON, FORM])
def test_a_body_is_limited_before_it_is_parsed(content_type):
    bomb = gzip.compress(b" " * 10**7)

    with pytest.raises(
        DocumentTooLargeError, match="the body exceeds the limit of 1,050,076"
    ):
        request(bomb, content_type, content_encoding="gzip")


def test_base64_with_line_breaks_fits_into_the_limit_of_the_body():
    encoded = base64.encodebytes(bytes(3_000_000)).decode().replace("\n", "\r\n")
    body = gzip.compress(json.dumps({"document": encoded}).encode())

    assert request(body, JSON, 3_000_000).document == bytes(3_000_000)


@pytest.mark.parametrize("body", [BODY, b""])
def test_wrong_content_encoding_is_a_bad_request(body):
    with pytest.raises(RequestError, match="is not gzip data") as caught:
        request(body, JSON, content_encoding="gzip")

    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_another_coding_is_unsupported(encoding):
    with pytest.raises(UnsupportedMediaTypeError, match="compress the document"):
        request(BODY, JSON, content_encoding=encoding)


def test_identity_encoding_is_accepted():
    assert request(BODY, JSON, content_encoding="identity").document == PNG
