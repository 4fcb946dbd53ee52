"""Parser of requests: from TorchServe's row and headers to an OCRRequest.

TorchServe mixes form parts, query parameters and headers in one row. This module
separates them, so that other modules need not know the row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

from handler.errors import (
    DocumentTooLargeError,
    InvalidOptionError,
    RequestError,
    UnsupportedMediaTypeError,
)
from handler.http.forms import parse_form
from handler.http.json_body import parse_members
from handler.http.json_document import parse_document
from handler.http.options import (
    MAX_OPTION_BYTES,
    SECRET_OPTIONS,
    option_too_long_error,
    parse_options,
    quoted,
    refuse_names_of_other_apis,
    refuse_secrets,
)
from handler.schema import Options
from handler.storage.addresses import Address
from handler.storage.compression import gunzip, is_gzip, is_gzip_encoding

__all__ = [
    "CUSTOM_ATTRIBUTES",
    "Content",
    "OCRRequest",
    "format_attributes",
    "parse_headers",
    "parse_request",
]

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
DOCUMENT_KEYS = ("document", "image")
URI_KEY = "s3_uri"
FORM_TYPE = "x-chandra-content-type"
"""Header in which frontend/ passes on the Content-Type of a form. frontend/ replaces
the original header, so that TorchServe does not parse the form, which it does badly."""
FORM = "multipart/form-data"
LABEL = "label"
PERCENT_CODED = ("prompt",)
"""Options that are percent-encoded in Custom-Attributes: a header is ASCII only, and a
semicolon ends a value."""
_SECRET_ASSIGNMENT = re.compile(
    rf"\b(?:{'|'.join((*SECRET_OPTIONS, *PERCENT_CODED))})\s*+=", re.IGNORECASE
)
_FOREIGN_IN_NAME = re.compile(r"[^A-Za-z_-]")
"""Character that no name of an option contains."""
MAX_LABEL_CHARACTERS = 256
JSON = "application/json"
JSON_LINES = frozenset(
    {
        "application/jsonlines",
        "application/json-lines",
        "application/jsonl",
        "application/x-jsonlines",
        "application/x-ndjson",
        "application/ndjson",
    }
)
"""Content types with which batch transform sends a single line of a JSON Lines file."""
GZIP_TYPES = frozenset(
    {"application/gzip", "application/x-gzip", "application/gzipped"}
)
"""Content types of compressed documents, which do not tell the type of the document."""
MAX_WRAPPER_BYTES = 1024 * 1024
"""Allowance for the rest of a JSON body or form, apart from the document."""
FORM_KEYS = ("document", "image", "data", "file")
# Not an option: TorchServe routes by it, and SageMaker names variants with it.
IGNORED_PARAMETERS = frozenset({"model_name"})

Row = Mapping[str, Any]
Content = bytes | bytearray | memoryview
"""Bytes of a document or of a form part; a view refers to the body of the request."""
T = TypeVar("T", bound=Content)


@dataclass(frozen=True, slots=True)
class OCRRequest:
    """Parsed request: a document, options and the media type of the reply."""

    document: Content | Address = field(repr=False)
    """Content of the document, or its address in S3."""
    media_type: str | None
    """Declared media type; None: to be detected from the content."""
    options: Options
    accept: str | None
    label: str | None = None
    """Name that the caller gave to this request; echoed in the reply."""

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the document or its address.

        They identify the document in the log without revealing its content.
        """
        document = self.document
        content = str(document).encode() if isinstance(document, Address) else document
        return hashlib.sha256(content).hexdigest()[:16]


def parse_headers(mixed: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers by lower-case name.

    TorchServe mixes other entries with the headers. Their values are not strings, and
    they are left out.
    """
    return {
        str(name).lower(): value
        for name, value in mixed.items()
        if isinstance(value, str)
    }


def parse_request(
    row: Row, headers: Mapping[str, str], *, max_document_bytes: int
) -> OCRRequest:
    """Parse the request in a row of TorchServe's batch.

    Options in the body override those in Custom-Attributes, which override those in the
    query string. A compressed document is decompressed. Raises RequestError for an
    invalid request, such as DocumentTooLargeError above `max_document_bytes`.
    """
    content_type = headers.get(FORM_TYPE, headers.get("content-type"))
    media_type = _parse_media_type(content_type)
    row = _decompress_row(row, headers, media_type, max_document_bytes)
    options: dict[str, Any] = {}
    document: Content | Address
    if media_type == FORM:
        document, declared, in_body = _read_form(_split_form(row, content_type))
    else:
        document, declared, in_body = _read_body(row.get("body"), media_type)
        options |= _read_query(row)
    attributes = _read_attributes(headers.get(CUSTOM_ATTRIBUTES.lower(), ""))
    label = _check_label(attributes.pop(LABEL, None))
    options |= attributes
    options |= in_body
    if not isinstance(document, Address):
        if is_gzip(document):
            document = _gunzip_all(document, "the document", max_document_bytes)
            declared = None if declared in GZIP_TYPES else declared
        _check_size(document, max_document_bytes)
    return OCRRequest(
        document=document,
        media_type=declared,
        options=parse_options(options),
        accept=headers.get("accept"),
        label=label,
    )


def _decompress_row(
    row: Row, headers: Mapping[str, str], media_type: str | None, max_bytes: int
) -> Row:
    """Return the row with a decompressed body.

    JSON and forms that begin like gzip are decompressed even without Content-Encoding,
    because SageMaker does not pass that header on. Raises RequestError for invalid
    gzip data or above the limit, which is higher for JSON and forms.
    """
    body = row.get("body")
    is_declared = is_gzip_encoding(headers.get("content-encoding"))
    if not isinstance(body, bytes | bytearray):
        return row  # a form or JSON that TorchServe has parsed
    if is_declared and not is_gzip(body):
        raise RequestError(
            "Content-Encoding is gzip, but the body is not gzip data: compress it, or "
            "omit the header"
        )
    if _is_wrapper(media_type) and is_gzip(body):
        # Base64 takes 4/3 of the document, and line breaks and escapes add to that.
        max_body_bytes = max_bytes * 3 // 2 + MAX_WRAPPER_BYTES
        return {**row, "body": _gunzip_all(body, "the body", max_body_bytes)}
    if is_declared:
        return {**row, "body": _gunzip_all(body, "the document", max_bytes)}
    return row


def _is_wrapper(media_type: str | None) -> bool:
    """Return whether a body of this type contains the document beside other values."""
    return media_type in (JSON, FORM) or media_type in JSON_LINES


def _gunzip_all(content: Content, subject: str, max_bytes: int) -> bytearray:
    """Return the decompressed content; raise RequestError as `gunzip` does."""
    decompressed = bytearray()
    for piece in gunzip([content], subject, max_bytes):
        decompressed += piece
    return decompressed


def format_attributes(**values: str | None) -> str:
    """Return the Custom-Attributes of a reply, with the values that are not None."""
    return ";".join(f"{n}={value}" for n, value in values.items() if value is not None)


def _check_size(document: Content, max_bytes: int) -> None:
    """Raise RequestError if the document is empty or above the limit."""
    if not document:
        raise RequestError("the document is empty")
    if len(document) > max_bytes:
        raise DocumentTooLargeError(
            f"the document has {len(document):,} bytes; the limit is {max_bytes:,} "
            'bytes. Upload it to S3 and send {"s3_uri": "s3://bucket/key"}'
        )


def _parse_media_type(content_type: str | None) -> str | None:
    """Return the media type without parameters, in lower case; None if it is empty."""
    if content_type is None:
        return None
    return content_type.split(";")[0].strip().lower() or None


def _split_form(row: Row, content_type: str | None) -> Row:
    """Return the row of a form with an entry for each part.

    A row without a body is returned as it is: TorchServe has parsed that form. Raises
    RequestError for an invalid form, and for a password in the query string.
    """
    if "body" not in row:
        return row
    refuse_secrets(row)
    parts = parse_form(_to_bytes(row["body"]), content_type or "")
    return {**{name: v for name, v in row.items() if name != "body"}, **parts}


def _read_form(row: Row) -> tuple[Content, str | None, dict[str, Any]]:
    """Return the document of a form, None, and the options in its other parts.

    None stands for the document's media type, which a form does not declare. Raises
    RequestError unless exactly one part is the document.
    """
    names = [name for name in FORM_KEYS if name in row]
    if len(names) != 1:
        raise RequestError(
            "send the document in one form part, named document, image, data or file"
        )
    values = {
        name: _to_text(name, value)
        for name, value in row.items()
        if name not in names and name not in IGNORED_PARAMETERS
    }
    return _to_bytes(row[names[0]]), None, values


def _read_query(row: Row) -> dict[str, Any]:
    """Return the options in the query string, which are the other entries of a row.

    Raises InvalidOptionError for a password, and for a value that is not short text.
    """
    refuse_secrets(row)
    return {
        name: _to_text(name, value)
        for name, value in row.items()
        if name != "body" and name not in IGNORED_PARAMETERS
    }


def _read_attributes(attributes: str) -> dict[str, Any]:
    """Parse options such as `pages=1-3;prompt_type=ocr` in Custom-Attributes.

    Raises InvalidOptionError for an item without `=`.
    """
    values = {}
    has_secret = _SECRET_ASSIGNMENT.search(attributes) is not None
    for item in attributes.split(";"):
        name, equals, value = item.partition("=")
        name, value = name.strip(), value.strip()
        if equals and not (has_secret and _FOREIGN_IN_NAME.search(name)):
            values[name] = unquote(value) if name in PERCENT_CODED else value
        elif item.strip():
            # This may be the rest of a password or prompt that contains a semicolon,
            # and neither may be logged.
            shown = "a value with a semicolon" if has_secret else quoted(item.strip())
            raise InvalidOptionError(
                f"{shown} in {CUSTOM_ATTRIBUTES} is not an option; write them as "
                "pages=1-3;prompt_type=ocr, and a semicolon in a prompt as %3B"
            )
    return values


def _check_label(value: str | None) -> str | None:
    """Return the label; raise InvalidOptionError if it is not safe in a header."""
    if value is None:
        return None
    if not (value.isascii() and value.isprintable()):
        raise InvalidOptionError(f"{LABEL} must be visible ASCII characters")
    if len(value) > MAX_LABEL_CHARACTERS:
        raise InvalidOptionError(
            f"{LABEL} must have at most {MAX_LABEL_CHARACTERS} characters"
        )
    return value


def _read_body(
    body: Any, media_type: str | None
) -> tuple[Content | Address, str | None, dict[str, Any]]:
    """Return the document in a body, its declared media type, and the options in it.

    A document in JSON has no declared media type (None); other bodies have no options.
    Raises RequestError for an invalid body.
    """
    if body is None:
        raise UnsupportedMediaTypeError(
            "the body was sent as a form: send the document itself, for example with "
            "curl --data-binary @page.png -H 'Content-Type: image/png'"
        )
    if not isinstance(body, bytes | bytearray | str):
        return _read_json(body)  # TorchServe can be configured to parse JSON
    content = body.encode(errors="surrogatepass") if isinstance(body, str) else body
    if media_type == JSON or media_type in JSON_LINES:
        try:
            members = parse_members(content, DOCUMENT_KEYS)
        except (ValueError, RecursionError) as error:
            hint = "" if media_type == JSON else ": send one line in each request"
            raise RequestError(f"the body is not valid JSON{hint}") from error
        return _read_json(members)
    return content, media_type, {}


def _read_json(body: Any) -> tuple[Content | Address, str | None, dict[str, Any]]:
    """Return the document in a JSON object, None for its media type, and the options.

    Raises RequestError unless the object has exactly one document or address.
    """
    if not isinstance(body, Mapping):
        raise RequestError("the JSON body must be an object with a document in it")
    keys = (*DOCUMENT_KEYS, URI_KEY)
    names = [name for name in keys if body.get(name) is not None]
    if not names:
        refuse_names_of_other_apis(body)
    if len(names) != 1:
        raise RequestError(
            'the JSON body must hold one "document" (or "image"), as base64 or as '
            's3://bucket/key, or one "s3_uri"'
        )
    document = parse_document(names[0], body[names[0]], is_uri=names[0] == URI_KEY)
    options = {name: v for name, v in body.items() if name not in keys}
    return document, None, options


def _to_bytes(value: T | str) -> T | bytes:
    """Return text as bytes, and bytes without copying them."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return value


def _to_text(name: str, value: Content | str) -> str:
    """Return the value of option `name` as text.

    Raises InvalidOptionError if it is too long or not UTF-8.
    """
    if len(value) > MAX_OPTION_BYTES:
        raise option_too_long_error(name)
    try:
        return bytes(_to_bytes(value)).decode()
    except UnicodeDecodeError as error:
        raise InvalidOptionError(f"{quoted(name)} is not text") from error
