"""Parsing of TorchServe's rows and headers into requests."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json

import pytest
from hypothesis import given, strategies as st

from handler.errors import (
    DocumentTooLargeError,
    InvalidOptionError,
    RequestError,
    UnsupportedMediaTypeError,
)
from handler.http.request import (
    FORM_KEYS,
    OCRRequest,
    format_attributes,
    parse_headers,
)
from handler.preprocess.media import resolve_media_type
from handler.schema import Options
from handler.storage.addresses import Address
from tests.handler.http.requests import (
    ATTRIBUTES,
    ENCODED,
    FORM,
    JSON,
    PNG,
    json_request,
    request,
    with_attributes,
)


def test_label_is_echoed_and_not_an_option():
    parsed = with_attributes("label=scan 7=b;pages=1")

    assert parsed.label == "scan 7=b"
    assert parsed.options.pages == "1"


@pytest.mark.parametrize("label", ["caf\u00e9", "a\r\nSet-Cookie: b", "x" * 257])
def test_label_that_is_unsafe_in_a_header_is_refused(label):
    with pytest.raises(InvalidOptionError, match="label must"):
        with_attributes(f"label={label}")


def test_reply_attributes_have_the_syntax_of_a_request():
    assert format_attributes(label="a", request_id="b", status=None) == (
        "label=a;request_id=b"
    )


# Bodies


@pytest.mark.parametrize("body", [PNG, bytearray(PNG)])
def test_a_raw_body_is_the_document(body):
    parsed = request({"body": body}, {"content-type": "image/png"})

    assert parsed == OCRRequest(PNG, "image/png", Options(), None)


def test_raw_body_is_not_copied():
    body = bytearray(PNG)

    assert request({"body": body}, {"content-type": "image/png"}).document is body


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [
        ("IMAGE/PNG", "image/png"),
        ("text/plain; charset=utf-8", "text/plain"),
        (" application/pdf ", "application/pdf"),
        ("", None),
        (";", None),
    ],
)
def test_media_type_is_read_without_parameters(content_type, media_type):
    parsed = request({"body": PNG}, {"content-type": content_type})

    assert parsed.media_type == media_type


def test_media_type_is_none_without_content_type():
    assert request({"body": bytearray(PNG)}).media_type is None


def test_body_decoded_by_torchserve_is_encoded_again():
    parsed = request({"body": "Größe"}, {"content-type": "text/plain"})

    assert parsed.document == "Größe".encode()


@pytest.mark.parametrize("key", ["document", "image"])
def test_a_json_body_holds_its_document_as_base64(key):
    parsed = json_request({key: ENCODED})

    assert parsed.document == PNG
    assert parsed.media_type is None


def test_json_body_parsed_by_torchserve_is_accepted():
    parsed = request({"body": {"image": ENCODED, "prompt_type": "ocr"}}, JSON)

    assert parsed.document == PNG
    assert parsed.options.prompt_type == "ocr"


def test_a_json_content_type_may_carry_a_charset():
    headers = {"content-type": "Application/JSON; charset=utf-8"}

    assert request({"body": b'{"image": "%s"}' % ENCODED.encode()}, headers) == (
        json_request({"image": ENCODED})
    )


def test_a_data_url_is_read_as_a_document():
    assert json_request({"image": f"data:image/png;base64,{ENCODED}"}).document == PNG


def test_base64_may_be_broken_into_lines():
    long = base64.encodebytes(PNG * 20).decode()

    assert json_request({"document": long}).document == PNG * 20


def test_json_member_that_is_null_is_ignored():
    parsed = json_request({"document": None, "image": ENCODED, "pages": None})

    assert parsed.document == PNG
    assert parsed.options.pages is None


@pytest.mark.parametrize("key", FORM_KEYS)
def test_a_multipart_form_has_its_document_in_one_part(key):
    row = {key: bytearray(PNG), "prompt_type": bytearray(b"ocr")}

    parsed = request(row, FORM)

    assert parsed.document == PNG
    assert parsed.media_type is None
    assert parsed.options.prompt_type == "ocr"


@pytest.mark.parametrize(
    "row", [{}, {"prompt_type": b"ocr"}, {"image": b"", "file": b""}]
)
def test_form_with_no_or_two_documents_is_a_bad_request(row):
    with pytest.raises(RequestError, match="one form part") as caught:
        request(row, FORM)

    assert caught.value.status == 400


def test_document_sent_as_urlencoded_form_is_detected():
    headers = {"x-chandra-content-type": "application/x-www-form-urlencoded"}

    parsed = request({"body": bytearray(PNG)}, headers)

    assert parsed.document == PNG
    assert resolve_media_type(parsed.media_type, PNG) == "image/png"
    with pytest.raises(UnsupportedMediaTypeError, match="--data-binary"):
        resolve_media_type(parsed.media_type, b"a=b")


def test_form_passed_on_by_the_frontend_is_parsed():
    body = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    form = body % (b"file", PNG) + body % (b"pages", b"2") + b"--x--"
    headers = {
        "content-type": "application/octet-stream",
        "x-chandra-content-type": FORM["content-type"],
    }

    parsed = request({"body": form, "prompt_type": b"ocr"}, headers)

    assert (parsed.document, parsed.options.pages) == (PNG, "2")
    assert parsed.options.prompt_type == "ocr"


@pytest.mark.parametrize("row", [{}, {"\x89PNG": b"\xff\x00"}])
def test_body_sent_as_a_form_is_refused_with_a_command(row):
    headers = {"content-type": "application/x-www-form-urlencoded"}

    with pytest.raises(
        UnsupportedMediaTypeError, match=r"curl --data-binary @page.png"
    ):
        request(row, headers)


@pytest.mark.parametrize("body", [[], [{}], 7])
def test_parsed_json_that_is_not_an_object_is_a_bad_request(body):
    with pytest.raises(RequestError, match="must be an object") as caught:
        request({"body": body}, JSON)

    assert caught.value.code == "bad_request"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b'{"image": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"1" * 5000, "not valid JSON"),
        (b"[]", "must be an object"),
        (b'"text"', "must be an object"),
        (b"null", "must be an object"),
        (b"{}", 'one "document"'),
        (b'{"document": null}', 'one "document"'),
        (b'{"document": "AAAA", "image": "AAAA"}', 'one "document"'),
        (b'{"document": 1}', "document must be a base64 string"),
        (b'{"image": ["AAAA"]}', "image must be a base64 string"),
        (b'{"image": "A"}', "image is not valid base64"),
        (b'{"image": "????"}', "image is not valid base64"),
        (b'{"image": "AAA=A"}', "image is not valid base64"),
        ('{"image": "ÄÄÄÄ"}'.encode(), "image is not valid base64"),
        (rb'{"image": "\ud800"}', "image is not valid base64"),
    ],
)
def test_invalid_json_body_is_refused_with_the_reason(body, words):
    with pytest.raises(RequestError, match=words) as caught:
        request({"body": body}, JSON)

    assert caught.value.code == "bad_request"


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        ({"body": bytearray()}, {}),
        ({"body": ""}, {"content-type": "text/plain"}),
        ({"body": b'{"image": ""}'}, JSON),
        ({"body": b'{"image": "data:image/png;base64,"}'}, JSON),
        ({"image": b""}, FORM),
    ],
)
def test_an_empty_document_is_a_bad_request(row, headers):
    with pytest.raises(RequestError, match="the document is empty"):
        request(row, headers)


def test_document_of_the_maximum_size_is_accepted():
    assert request({"body": b"x" * 1000}).document == b"x" * 1000


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        ({"body": b"x" * 1001}, {}),
        ({"body": {"image": base64.b64encode(b"x" * 1001).decode()}}, JSON),
        ({"file": b"x" * 1001}, FORM),
    ],
)
def test_a_document_above_the_limit_is_refused_with_both_numbers(row, headers):
    with pytest.raises(DocumentTooLargeError, match=r"1,001 bytes; .* 1,000 bytes"):
        request(row, headers)


def test_size_limit_applies_to_the_decoded_document():
    body = {"image": base64.b64encode(b"x" * 1000).decode()}

    assert json_request(body).document == b"x" * 1000


# Documents in S3


@pytest.mark.parametrize("key", ["s3_uri", "document", "image"])
def test_json_body_may_hold_an_s3_address(key):
    parsed = json_request({key: "s3://docs/in/a.pdf", "pages": "1-5"})

    assert parsed.document == Address("docs", "in/a.pdf")
    assert parsed.media_type is None
    assert parsed.options == Options(pages="1-5")


@pytest.mark.parametrize(
    "content_type",
    ["application/jsonlines", "application/x-ndjson", "application/json-lines"],
)
def test_line_of_a_json_lines_file_is_a_request(content_type):
    line = b'{"document": "s3://docs/a.pdf", "pages": "2"}\n'

    parsed = request({"body": line}, {"content-type": content_type})

    assert parsed.document == Address("docs", "a.pdf")


def test_two_json_lines_in_one_request_are_refused():
    lines = b'{"document": "s3://docs/a.pdf"}\n' * 2

    with pytest.raises(RequestError, match="send one line in each request"):
        request({"body": lines}, {"content-type": "application/jsonlines"})


@pytest.mark.parametrize(
    "body",
    [
        {"s3_uri": "s3://docs/a", "document": ENCODED},
        {"s3_uri": "s3://docs/a", "document": "s3://docs/a"},
        {"document": "s3://docs/a", "image": ENCODED},
    ],
)
def test_document_and_s3_address_together_are_refused(body):
    with pytest.raises(RequestError, match="must hold one"):
        json_request(body)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (7, "s3_uri must be a string"),
        (["s3://docs/a"], "s3_uri must be a string"),
        ("https://docs/a", "is named s3://bucket/key"),
        ("a.pdf", "is named s3://bucket/key"),
        ("", "is named s3://bucket/key"),
        ("s3://do_cs/a", "is named s3://bucket/key"),
    ],
)
def test_invalid_s3_address_is_a_bad_request(uri, words):
    with pytest.raises(RequestError, match=words):
        json_request({"s3_uri": uri})


def test_s3_address_is_accepted_in_json_only():
    with pytest.raises(InvalidOptionError, match="unknown option"):
        with_attributes("s3_uri=s3://docs/a")


def test_error_of_a_too_large_document_suggests_s3():
    with pytest.raises(DocumentTooLargeError, match=r'send \{"s3_uri": "s3://'):
        request({"body": bytes(1001)}, {"content-type": "image/png"})


def test_digest_identifies_the_document_only():
    digests = [
        request({"body": PNG}).digest,
        request({"body": bytearray(PNG)}).digest,
        request({"body": PNG + b"x"}).digest,
        json_request({"s3_uri": "s3://docs/a"}).digest,
        json_request({"document": "s3://docs/a"}).digest,
        json_request({"s3_uri": "s3://docs/b"}).digest,
    ]

    assert digests[0] == digests[1] == hashlib.sha256(PNG).hexdigest()[:16]
    assert digests[3] == digests[4] == hashlib.sha256(b"s3://docs/a").hexdigest()[:16]
    assert len(set(digests)) == 4


def test_repr_of_a_request_hides_the_document():
    assert "PNG" not in repr(request({"body": PNG}))


# Headers


def test_header_names_are_case_insensitive():
    mixed = {"Content-Type": "image/png", "ACCEPT": "text/html"}

    assert parse_headers(mixed) == {"content-type": "image/png", "accept": "text/html"}


def test_entries_added_by_torchserve_are_not_headers():
    mixed = {
        "Accept": "text/html",
        "body": {"content-type": "image/png"},
        "pages": bytearray(b"1"),
        "nothing": None,
    }

    assert parse_headers(mixed) == {"accept": "text/html"}


def test_the_accept_header_is_passed_on_unchanged():
    accept = "text/markdown, */*;q=0.1"

    assert request({"body": PNG}, {"accept": accept}).accept == accept


def test_a_document_in_a_form_is_a_view_of_the_body():
    body = bytearray(
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n%s\r\n--x--' % PNG
    )

    document = request({"body": body}, FORM).document

    assert isinstance(document, memoryview)
    assert document.obj is body
    assert document == PNG


@pytest.mark.parametrize("key", ["s3_uri", "document"])
@pytest.mark.parametrize("num_characters", [1025, 5000, 500_000])
def test_too_long_s3_address_is_refused(key, num_characters):
    with pytest.raises(RequestError) as caught:
        json_request({key: "s3://docs/" + "a" * num_characters})

    assert caught.value.code in ("bad_request", "invalid_option")
    assert len(caught.value.detail) < 300


def test_s3_key_of_the_maximum_length_is_accepted():
    assert json_request({"s3_uri": "s3://docs/" + "a" * 1024}).document == (
        Address("docs", "a" * 1024)
    )


def test_a_large_data_url_is_read_as_a_document():
    content = bytes(range(256)) * 40
    encoded = base64.b64encode(content).decode()

    parsed = request(
        {"body": json.dumps({"image": f"data:image/png;base64,{encoded}"}).encode()},
        JSON,
        max_document_bytes=20_000,
    )

    assert parsed.document == content


def test_a_data_url_with_a_long_head_is_refused():
    with pytest.raises(RequestError, match="before the comma of its data: URL"):
        json_request({"image": "data:" + "x" * 300_000 + "," + ENCODED})


@pytest.mark.parametrize("blank", [" ", "\n", "\u3000", "\x1f"])
def test_blanks_in_the_base64_of_a_large_document_do_not_count(blank):
    content = bytes(range(256)) * 1500
    encoded = base64.b64encode(content).decode()
    spaced = blank.join(encoded[at : at + 76] for at in range(0, len(encoded), 76))

    for body in (json.dumps({"image": spaced}), json.dumps({"image": encoded})):
        parsed = request(
            {"body": body.replace("/", r"\/").encode()},
            JSON,
            max_document_bytes=len(content),
        )
        assert parsed.document == content


# Arbitrary input

ANY_TEXT = st.text(st.characters())
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3)
    ),
    max_leaves=5,
)
KNOWN_KEYS = st.sampled_from(
    ["document", "image", *(field.name for field in dataclasses.fields(Options))]
)
ANY_OBJECT = st.dictionaries(
    KNOWN_KEYS | ANY_TEXT, st.just(ENCODED) | ANY_VALUE, max_size=5
)


def assert_parses_or_is_refused(row, headers) -> None:
    with contextlib.suppress(RequestError):
        assert isinstance(request(row, headers), OCRRequest)


@given(ANY_OBJECT)
def test_any_json_object_parses_or_raises_a_request_error(body):
    assert_parses_or_is_refused({"body": json.dumps(body).encode()}, JSON)


@given(ANY_VALUE)
def test_any_json_value_parses_or_raises_a_request_error(body):
    assert_parses_or_is_refused({"body": json.dumps(body).encode()}, JSON)


@given(st.binary(), st.sampled_from([{}, JSON, {"content-type": "image/png"}]))
def test_any_bytes_parse_or_raise_a_request_error(body, headers):
    assert_parses_or_is_refused({"body": body}, headers)


@given(ANY_TEXT)
def test_any_attributes_parse_or_raise_a_request_error(attributes):
    assert_parses_or_is_refused({"body": PNG}, {ATTRIBUTES: attributes})


@given(st.dictionaries(KNOWN_KEYS | ANY_TEXT, st.binary(), max_size=4))
def test_any_form_parses_or_raises_a_request_error(row):
    assert_parses_or_is_refused(row, FORM)
