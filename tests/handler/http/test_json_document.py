"""Documents in JSON, in the spellings of clients and of other services."""

from __future__ import annotations

import base64
import json

import pytest

from handler.errors import RequestError
from handler.http.request import OCRRequest, parse_request
from handler.storage.addresses import Address

PNG = b"\x89PNG\r\n\x1a\n\xff\xfb\xef\xbe"
BASE64 = base64.b64encode(PNG).decode()
LONG_TEXT = "A" * 300_000


def request(body: object) -> OCRRequest:
    return parse_request(
        {"body": bytearray(json.dumps(body).encode())},
        {"content-type": "application/json"},
        max_document_bytes=10**6,
    )


def content(parsed: OCRRequest) -> bytes:
    assert not isinstance(parsed.document, Address)
    return bytes(parsed.document)


def test_sample_uses_characters_of_both_base64_alphabets():
    assert "+" in BASE64
    assert "/" in BASE64


@pytest.mark.parametrize(
    "text",
    [
        base64.urlsafe_b64encode(PNG).decode(),
        base64.b64encode(PNG + b"\0").decode().rstrip("="),
        BASE64.replace("+", "%2B").replace("/", "%2f"),
        "\ufeff" + BASE64,
        "\n " + BASE64,
        "DATA:image/png;BASE64," + BASE64,
        "Data:;base64," + BASE64,
        "\ufeffdata:image/png;charset=utf-8;base64," + BASE64,
        "data:image/png;base64," + BASE64.replace("+", "%2B"),
    ],
)
def test_usual_spellings_of_base64_are_read(text):
    assert content(request({"document": text})).rstrip(b"\0") == PNG


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://example.org/a.png", "document is a URL, and documents are not"),
        ("/etc/hosts", "document is the name or path of a file"),
        ("in/scan.pdf", "document is the name or path of a file"),
        (json.dumps(BASE64), "document contains quotes"),
        (repr(PNG), "document contains quotes"),
        (json.dumps(LONG_TEXT), "document contains quotes"),
        (PNG.hex() * 10, "document is hexadecimal"),
        ("data:image/png,%89PNG", "without ;base64 before its comma"),
        ("data:image/png", "without ;base64 before its comma"),
        ("S3://docs/a.pdf", "is named s3://bucket/key"),
        ("arn:aws:s3:::docs/a.pdf", "is named s3://bucket/key"),
        ("AAAAA", "not valid base64: it ends early"),
        ("AAAA!AAA", "not valid base64: it has characters"),
        (LONG_TEXT + "$" + LONG_TEXT, "not valid base64: it has characters"),
    ],
)
def test_text_that_is_not_base64_is_explained(text, words):
    with pytest.raises(RequestError, match=words) as caught:
        request({"document": text})

    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("key", ["document", "image"])
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_document_that_is_an_object_must_be_base64(key, size):
    value = {"type": "image_url", "image_url": "data:," + "A" * size}

    with pytest.raises(RequestError, match=f"{key} must be a base64 string"):
        request({"model": "other", key: value})


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize(
    ("name", "value", "service"),
    [
        ("messages", [{"role": "user", "content": []}], "OpenAI's chat API"),
        ("sources", [{"kind": "file"}], "docling-serve"),
        ("Document", {"Bytes": ""}, "Amazon Textract"),
        ("instances", [{}], "Vertex AI"),
    ],
)
def test_body_of_another_service_is_explained(name, value, service, size):
    padding = [value, "A" * size]

    with pytest.raises(RequestError, match=service) as caught:
        request({name: padding, "model": "any"})

    assert '{"document": "<base64 of the file>"}' in caught.value.detail


def test_s3_address_in_document_is_not_read_as_base64():
    assert request({"document": "s3://docs/a%20b.pdf"}).document == Address(
        "docs", "a%20b.pdf"
    )
