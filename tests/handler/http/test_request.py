"""What TorchServe hands over, made into a request or into a sentence."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from handler.errors import (
    DocumentTooLargeError,
    InvalidOptionError,
    RequestError,
    UnsupportedMediaTypeError,
)
from handler.http.request import (
    CUSTOM_ATTRIBUTES,
    FORM_KEYS,
    OCRRequest,
    format_attributes,
    parse_headers,
    parse_request,
)
from handler.preprocess.media import resolve_media_type
from handler.schema import Options
from handler.storage.addresses import Address

PNG = b"\x89PNG\r\n\x1a\n"
ENCODED = base64.b64encode(PNG).decode()
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
ATTRIBUTES = CUSTOM_ATTRIBUTES.lower()


def request(row, headers=None, max_document_bytes=1000) -> OCRRequest:
    return parse_request(row, headers or {}, max_document_bytes=max_document_bytes)


def json_request(body: object) -> OCRRequest:
    return request({"body": bytearray(json.dumps(body).encode())}, JSON)


def with_attributes(attributes: str, **parameters: str) -> OCRRequest:
    row = {name: bytearray(value.encode()) for name, value in parameters.items()}
    return request({"body": PNG, **row}, {ATTRIBUTES: attributes})


def test_a_label_is_the_callers_and_no_option():
    understood = with_attributes("label=scan 7=b;pages=1")

    assert understood.label == "scan 7=b"
    assert understood.options.pages == "1"


@pytest.mark.parametrize("label", ["caf\u00e9", "a\r\nSet-Cookie: b", "x" * 257])
def test_a_label_that_no_header_would_bring_back_is_refused(label):
    with pytest.raises(InvalidOptionError, match="label must"):
        with_attributes(f"label={label}")


def test_attributes_of_an_answer_read_as_those_of_a_request():
    assert format_attributes(label="a", request_id="b", status=None) == (
        "label=a;request_id=b"
    )


# Bodies


@pytest.mark.parametrize("body", [PNG, bytearray(PNG)])
def test_a_raw_body_is_the_document(body):
    understood = request({"body": body}, {"content-type": "image/png"})

    assert understood == OCRRequest(PNG, "image/png", Options(), None)


def test_a_large_body_is_not_in_memory_a_second_time():
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
def test_a_media_type_is_what_comes_before_its_parameters(content_type, media_type):
    understood = request({"body": PNG}, {"content-type": content_type})

    assert understood.media_type == media_type


def test_without_a_content_type_the_bytes_speak_for_themselves():
    assert request({"body": bytearray(PNG)}).media_type is None


def test_a_body_that_torchserve_made_text_is_bytes_again():
    understood = request({"body": "Größe"}, {"content-type": "text/plain"})

    assert understood.document == "Größe".encode()


@pytest.mark.parametrize("key", ["document", "image"])
def test_a_json_body_holds_its_document_as_base64(key):
    understood = json_request({key: ENCODED})

    assert understood.document == PNG
    assert understood.media_type is None


def test_a_json_body_that_torchserve_parsed_already_is_understood():
    understood = request({"body": {"image": ENCODED, "prompt_type": "ocr"}}, JSON)

    assert understood.document == PNG
    assert understood.options.prompt_type == "ocr"


def test_a_json_content_type_may_carry_a_charset():
    headers = {"content-type": "Application/JSON; charset=utf-8"}

    assert request({"body": b'{"image": "%s"}' % ENCODED.encode()}, headers) == (
        json_request({"image": ENCODED})
    )


def test_a_data_url_is_a_document():
    assert json_request({"image": f"data:image/png;base64,{ENCODED}"}).document == PNG


def test_base64_may_be_broken_into_lines():
    long = base64.encodebytes(PNG * 20).decode()

    assert json_request({"document": long}).document == PNG * 20


def test_a_key_without_a_value_does_not_count():
    understood = json_request({"document": None, "image": ENCODED, "pages": None})

    assert understood.document == PNG
    assert understood.options.pages is None


@pytest.mark.parametrize("key", FORM_KEYS)
def test_a_multipart_form_has_its_document_in_one_part(key):
    row = {key: bytearray(PNG), "prompt_type": bytearray(b"ocr")}

    understood = request(row, FORM)

    assert understood.document == PNG
    assert understood.media_type is None
    assert understood.options.prompt_type == "ocr"


@pytest.mark.parametrize(
    "row", [{}, {"prompt_type": b"ocr"}, {"image": b"", "file": b""}]
)
def test_a_multipart_form_with_no_or_two_documents_is_a_bad_request(row):
    with pytest.raises(RequestError, match="one form part") as caught:
        request(row, FORM)

    assert caught.value.status == 400


def test_a_document_that_curl_calls_a_form_is_what_its_bytes_say():
    headers = {"x-chandra-content-type": "application/x-www-form-urlencoded"}

    understood = request({"body": bytearray(PNG)}, headers)

    assert understood.document == PNG
    assert resolve_media_type(understood.media_type, PNG) == "image/png"
    with pytest.raises(UnsupportedMediaTypeError, match="--data-binary"):
        resolve_media_type(understood.media_type, b"a=b")


def test_a_form_that_the_frontend_has_left_to_us_is_taken_apart():
    body = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    form = body % (b"file", PNG) + body % (b"pages", b"2") + b"--x--"
    headers = {
        "content-type": "application/octet-stream",
        "x-chandra-content-type": FORM["content-type"],
    }

    understood = request({"body": form, "prompt_type": b"ocr"}, headers)

    assert (understood.document, understood.options.pages) == (PNG, "2")
    assert understood.options.prompt_type == "ocr"


@pytest.mark.parametrize("row", [{}, {"\x89PNG": b"\xff\x00"}])
def test_a_body_that_arrived_as_a_form_is_refused_with_the_right_command(row):
    headers = {"content-type": "application/x-www-form-urlencoded"}

    with pytest.raises(
        UnsupportedMediaTypeError, match=r"curl --data-binary @page.png"
    ):
        request(row, headers)


@pytest.mark.parametrize("body", [[], [{}], 7])
def test_json_that_torchserve_parsed_into_no_object_is_a_bad_request(body):
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
def test_a_json_body_that_is_none_says_what_is_wrong(body, words):
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


def test_a_document_as_large_as_the_limit_is_taken():
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


def test_the_limit_is_on_the_document_and_not_on_its_base64():
    body = {"image": base64.b64encode(b"x" * 1000).decode()}

    assert json_request(body).document == b"x" * 1000


# Documents in S3


@pytest.mark.parametrize("key", ["s3_uri", "document", "image"])
def test_a_json_body_may_say_where_its_document_lies(key):
    understood = json_request({key: "s3://docs/in/a.pdf", "pages": "1-5"})

    assert understood.document == Address("docs", "in/a.pdf")
    assert understood.media_type is None
    assert understood.options == Options(pages="1-5")


@pytest.mark.parametrize(
    "content_type",
    ["application/jsonlines", "application/x-ndjson", "application/json-lines"],
)
def test_a_line_of_a_manifest_is_a_body(content_type):
    line = b'{"document": "s3://docs/a.pdf", "pages": "2"}\n'

    understood = request({"body": line}, {"content-type": content_type})

    assert understood.document == Address("docs", "a.pdf")


def test_two_lines_of_a_manifest_are_told_to_come_one_by_one():
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
def test_a_document_and_the_place_of_one_are_one_too_many(body):
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
def test_a_place_that_is_none_is_a_bad_request(uri, words):
    with pytest.raises(RequestError, match=words):
        json_request({"s3_uri": uri})


def test_a_place_is_no_option_and_not_taken_from_elsewhere():
    with pytest.raises(InvalidOptionError, match="unknown option"):
        with_attributes("s3_uri=s3://docs/a")


def test_a_document_that_is_too_large_is_shown_the_way_by_s3():
    with pytest.raises(DocumentTooLargeError, match=r'send \{"s3_uri": "s3://'):
        request({"body": bytes(1001)}, {"content-type": "image/png"})


def test_a_digest_tells_documents_apart_and_nothing_else():
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


def test_a_document_is_not_printed():
    assert "PNG" not in repr(request({"body": PNG}))


# Headers


def test_headers_are_found_whatever_their_case():
    mixed = {"Content-Type": "image/png", "ACCEPT": "text/html"}

    assert parse_headers(mixed) == {"content-type": "image/png", "accept": "text/html"}


def test_what_torchserve_mixes_in_is_no_header():
    mixed = {
        "Accept": "text/html",
        "body": {"content-type": "image/png"},
        "pages": bytearray(b"1"),
        "nothing": None,
    }

    assert parse_headers(mixed) == {"accept": "text/html"}


def test_the_accept_header_is_passed_on_as_it_is():
    accept = "text/markdown, */*;q=0.1"

    assert request({"body": PNG}, {"accept": accept}).accept == accept


# Where options come from


def test_options_come_in_custom_attributes():
    options = with_attributes(" pages = 1-3 ; prompt_type=ocr;; ").options

    assert options == Options(pages="1-3", prompt_type="ocr")


def test_options_come_in_the_query():
    options = with_attributes("", pages="2", include_images="true").options

    assert options == Options(pages="2", include_images=True)


def test_options_come_in_a_json_body():
    options = json_request({"image": ENCODED, "pages": "7", "max_output_tokens": 9})

    assert options.options == Options(pages="7", max_output_tokens=9)


def test_the_body_beats_custom_attributes_which_beat_the_query():
    row = {
        "body": b'{"image": "AAAA", "pages": "1"}',
        "pages": b"2",
        "prompt_type": b"ocr_layout",
        "max_output_tokens": b"5",
    }
    attributes = {ATTRIBUTES: "pages=3;prompt_type=ocr"}

    options = request(row, JSON | attributes).options

    assert options == Options(pages="1", prompt_type="ocr", max_output_tokens=5)


def test_a_form_beats_custom_attributes():
    row = {"file": PNG, "pages": b"1"}

    options = request(row, FORM | {ATTRIBUTES: "pages=2;prompt_type=ocr"}).options

    assert options == Options(pages="1", prompt_type="ocr")


@pytest.mark.parametrize(
    ("row", "headers"), [({"body": PNG}, {}), ({"file": PNG}, FORM)]
)
def test_the_name_of_the_model_is_no_option(row, headers):
    assert request({"model_name": b"chandra", **row}, headers).options == Options()


def test_a_custom_attribute_without_a_value_shows_how_to_write_one():
    with pytest.raises(InvalidOptionError, match=r'"trace" .* write them as pages=1-3'):
        with_attributes("pages=1;trace")


PROMPT = "Betrag; Währung=€?\n100 %3B"


def test_an_option_means_the_same_wherever_it_is_written():
    given = {
        "temperature": "0.7",
        "max_attempts": "2",
        "paginate": "true",
        "tables": "html",
        "inline_images": "true",
    }
    expected = Options(
        prompt=PROMPT,
        temperature=0.7,
        max_attempts=2,
        paginate=True,
        tables="html",
        inline_images=True,
    )
    header = ";".join(f"{name}={value}" for name, value in given.items())
    parts = {**given, "prompt": PROMPT}
    encoded = {name: bytearray(value.encode()) for name, value in parts.items()}

    assert json_request({"image": ENCODED, **parts}).options == expected
    assert request({"body": PNG, **encoded}).options == expected
    assert request({"file": PNG, **encoded}, FORM).options == expected
    assert with_attributes(f"{header};prompt={quote(PROMPT)}").options == expected


def test_a_semicolon_in_a_prompt_shows_how_to_write_it():
    with pytest.raises(InvalidOptionError, match="a prompt as %3B") as caught:
        with_attributes("prompt=total; currency")

    assert "currency" not in caught.value.detail


@pytest.mark.parametrize(
    "attributes",
    [
        "prompt = find it; the iban",
        "prompt=find it; the iban = DE00",
        "pages=1;Prompt=find it;the iban",
        "password =a;the iban",
    ],
)
def test_the_rest_of_a_prompt_or_password_is_never_told(attributes):
    with pytest.raises(InvalidOptionError) as caught:
        with_attributes(attributes)

    assert "iban" not in caught.value.detail


# Options that are none


UNKNOWN = 'unknown option "page"; did you mean pages'


def test_an_unknown_option_in_a_body_names_its_nearest_neighbour():
    with pytest.raises(InvalidOptionError, match=UNKNOWN) as caught:
        json_request({"image": ENCODED, "page": 1})

    assert caught.value.status == 422


def test_an_unknown_option_in_custom_attributes_names_its_nearest_neighbour():
    with pytest.raises(InvalidOptionError, match=UNKNOWN):
        with_attributes("page=1")


def test_an_unknown_option_in_the_query_names_its_nearest_neighbour():
    with pytest.raises(InvalidOptionError, match=UNKNOWN):
        with_attributes("", page="1")


def test_an_unknown_option_in_a_form_names_its_nearest_neighbour():
    with pytest.raises(InvalidOptionError, match=UNKNOWN):
        request({"file": PNG, "page": b"1"}, FORM)


@pytest.mark.parametrize(
    ("row", "headers"),
    [({"body": PNG, "pages": b"\xff"}, {}), ({"file": PNG, "pages": b"\xff"}, FORM)],
)
def test_a_parameter_that_is_not_text_is_refused_by_name(row, headers):
    with pytest.raises(InvalidOptionError, match='"pages" is not text'):
        request(row, headers)


def test_a_number_too_large_for_json_is_refused_by_name():
    body = b'{"image": "AAAA", "max_output_tokens": 1e400}'

    with pytest.raises(InvalidOptionError, match="max_output_tokens must be a number"):
        request({"body": body}, JSON)


# Limits on everything but the document

LONG = "x" * 8193


@pytest.mark.parametrize("name", ["pages", "prompt_type", "deadline_seconds", "other"])
def test_a_long_option_is_refused_wherever_it_comes_from(name):
    for send in (
        lambda: json_request({"image": ENCODED, name: LONG}),
        lambda: request({"body": {"image": ENCODED, name: LONG}}, JSON),
        lambda: request({"body": PNG, name: LONG.encode()}),
        lambda: request({"file": PNG, name: LONG.encode()}, FORM),
        lambda: with_attributes(f"{name}={LONG}"),
    ):
        with pytest.raises(InvalidOptionError, match=f'"?{name}"?') as caught:
            send()

        assert len(caught.value.detail) < 300


def test_a_long_part_of_a_form_is_refused_by_name():
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = part % (b"pages", b"1," * 5000) + part % (b"file", PNG) + b"--x--"

    with pytest.raises(InvalidOptionError, match='"pages" has more than 8,192 bytes'):
        request({"body": body}, FORM)


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
def test_a_long_place_is_refused(key, num_characters):
    with pytest.raises(RequestError) as caught:
        json_request({key: "s3://docs/" + "a" * num_characters})

    assert caught.value.code in ("bad_request", "invalid_option")
    assert len(caught.value.detail) < 300


def test_a_key_of_the_longest_length_is_a_place():
    assert json_request({"s3_uri": "s3://docs/" + "a" * 1024}).document == (
        Address("docs", "a" * 1024)
    )


def test_a_data_url_of_a_large_document_is_a_document():
    content = bytes(range(256)) * 40
    encoded = base64.b64encode(content).decode()

    understood = request(
        {"body": json.dumps({"image": f"data:image/png;base64,{encoded}"}).encode()},
        JSON,
        max_document_bytes=20_000,
    )

    assert understood.document == content


def test_a_data_url_with_a_long_head_is_refused():
    with pytest.raises(RequestError, match="before the comma of its data: URL"):
        json_request({"image": "data:" + "x" * 300_000 + "," + ENCODED})


@pytest.mark.parametrize("blank", [" ", "\n", "\u3000", "\x1f"])
def test_blanks_in_the_base64_of_a_large_document_do_not_count(blank):
    content = bytes(range(256)) * 1500
    encoded = base64.b64encode(content).decode()
    spaced = blank.join(encoded[at : at + 76] for at in range(0, len(encoded), 76))

    for body in (json.dumps({"image": spaced}), json.dumps({"image": encoded})):
        understood = request(
            {"body": body.replace("/", r"\/").encode()},
            JSON,
            max_document_bytes=len(content),
        )
        assert understood.document == content


# Anything at all

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


def understood_or_refused(row, headers) -> None:
    with contextlib.suppress(RequestError):
        assert isinstance(request(row, headers), OCRRequest)


@given(ANY_OBJECT)
def test_any_json_object_is_a_request_or_a_request_error(body):
    understood_or_refused({"body": json.dumps(body).encode()}, JSON)


@given(ANY_VALUE)
def test_any_json_value_is_a_request_or_a_request_error(body):
    understood_or_refused({"body": json.dumps(body).encode()}, JSON)


@given(st.binary(), st.sampled_from([{}, JSON, {"content-type": "image/png"}]))
def test_any_bytes_are_a_request_or_a_request_error(body, headers):
    understood_or_refused({"body": body}, headers)


@given(ANY_TEXT)
def test_any_custom_attributes_are_a_request_or_a_request_error(attributes):
    understood_or_refused({"body": PNG}, {ATTRIBUTES: attributes})


@given(st.dictionaries(KNOWN_KEYS | ANY_TEXT, st.binary(), max_size=4))
def test_any_form_is_a_request_or_a_request_error(row):
    understood_or_refused(row, FORM)
