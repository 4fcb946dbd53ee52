"""What TorchServe hands over, made into a request: a document, options, a format.

TorchServe mixes form parts, query parameters and headers; nothing after this
module needs to know that.
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
    refuse_foreign,
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
"""The Content-Type of a form that frontend/ has left to us: TorchServe takes those that
are declared as such apart itself, and not well."""
FORM = "multipart/form-data"
LABEL = "label"
PERCENT_CODED = ("prompt",)
"""Options that are percent-coded in Custom-Attributes: a header takes ASCII only, and a
semicolon ends a value there."""
_UNLOGGED = re.compile(
    rf"\b(?:{'|'.join((*SECRET_OPTIONS, *PERCENT_CODED))})\s*+=", re.IGNORECASE
)
_NO_NAME = re.compile(r"[^A-Za-z_-]")
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
"""What a line of a manifest is called when batch transform sends it by itself."""
GZIP_TYPES = frozenset(
    {"application/gzip", "application/x-gzip", "application/gzipped"}
)
"""Declared of a compressed document, and says nothing of its type."""
MAX_WRAPPER_BYTES = 1024 * 1024
"""Room for what surrounds a document in a decompressed JSON body or form."""
FORM_KEYS = ("document", "image", "data", "file")
# Not options: TorchServe routes by it, and SageMaker names variants with it.
IGNORED_PARAMETERS = frozenset({"model_name"})

Row = Mapping[str, Any]
Content = bytes | bytearray | memoryview
"""Bytes of a document or of a form's part; a view refers to the request's body."""
T = TypeVar("T", bound=Content)


@dataclass(frozen=True, slots=True)
class OCRRequest:
    """One document and what to do with it."""

    document: Content | Address = field(repr=False)
    """Itself, or where it lies."""
    media_type: str | None
    """As declared; None where the bytes must speak for themselves."""
    options: Options
    accept: str | None
    label: str | None = None
    """The caller's own name for this request, to be sent back."""

    @property
    def digest(self) -> str:
        """Sixteen digits by which whoever knows the document, or where it lies, knows
        it again; nobody else can tell anything from them."""
        document = self.document
        known = str(document).encode() if isinstance(document, Address) else document
        return hashlib.sha256(known).hexdigest()[:16]


def parse_headers(mixed: Mapping[str, Any]) -> dict[str, str]:
    """Headers by lower-case name; TorchServe keeps the client's case, and more."""
    return {
        str(name).lower(): value
        for name, value in mixed.items()
        if isinstance(value, str)
    }


def parse_request(
    row: Row, headers: Mapping[str, str], *, max_document_bytes: int
) -> OCRRequest:
    """The request in `row` of TorchServe's batch, or the RequestError it deserves.

    Options in the body beat those in Custom-Attributes, which beat those in the
    query string.
    """
    content_type = headers.get(FORM_TYPE, headers.get("content-type"))
    media_type = _media_type(content_type)
    row = _decompressed_row(row, headers, media_type, max_document_bytes)
    options: dict[str, Any] = {}
    document: Content | Address
    if media_type == FORM:
        document, declared, in_body = _from_form(_opened(row, content_type))
    else:
        document, declared, in_body = _from_body(row.get("body"), media_type)
        options |= _from_query(row)
    attributes = _from_attributes(headers.get(CUSTOM_ATTRIBUTES.lower(), ""))
    label = _label(attributes.pop(LABEL, None))
    options |= attributes
    options |= in_body
    if not isinstance(document, Address):
        if is_gzip(document):
            document = _gunzipped(document, "the document", max_document_bytes)
            declared = None if declared in GZIP_TYPES else declared
        _check_size(document, max_document_bytes)
    return OCRRequest(
        document=document,
        media_type=declared,
        options=parse_options(options),
        accept=headers.get("accept"),
        label=label,
    )


def _decompressed_row(
    row: Row, headers: Mapping[str, str], media_type: str | None, max_bytes: int
) -> Row:
    """Return the row with the body as it was before it was compressed.

    JSON and forms that begin as gzip does are decompressed without the header too:
    SageMaker does not pass it on.
    """
    body = row.get("body")
    is_declared = is_gzip_encoding(headers.get("content-encoding"))
    if not isinstance(body, bytes | bytearray):
        return row  # a form or JSON that TorchServe has taken apart
    if is_declared and not is_gzip(body):
        raise RequestError(
            "Content-Encoding is gzip, but the body does not begin as gzip does: "
            "compress it, or leave out the header"
        )
    if _is_wrapper(media_type) and is_gzip(body):
        # Base64 takes 4/3 of the document, and line breaks and escapes some more.
        most = max_bytes * 3 // 2 + MAX_WRAPPER_BYTES
        return {**row, "body": _gunzipped(body, "the body", most)}
    if is_declared:
        return {**row, "body": _gunzipped(body, "the document", max_bytes)}
    return row


def _is_wrapper(media_type: str | None) -> bool:
    return media_type in (JSON, FORM) or media_type in JSON_LINES


def _gunzipped(content: Content, subject: str, max_bytes: int) -> bytearray:
    decompressed = bytearray()
    for piece in gunzip([content], subject, max_bytes):
        decompressed += piece
    return decompressed


def format_attributes(**values: str | None) -> str:
    """Custom-Attributes of an answer: as in a request, of what is not None."""
    return ";".join(f"{n}={value}" for n, value in values.items() if value is not None)


def _check_size(document: Content, max_bytes: int) -> None:
    if not document:
        raise RequestError("the document is empty")
    if len(document) > max_bytes:
        raise DocumentTooLargeError(
            f"the document has {len(document):,} bytes; the limit is {max_bytes:,} "
            'bytes. Put larger ones into S3 and send {"s3_uri": "s3://bucket/key"}'
        )


def _media_type(content_type: str | None) -> str | None:
    if content_type is None:
        return None
    return content_type.split(";")[0].strip().lower() or None


def _opened(row: Row, content_type: str | None) -> Row:
    """The row as TorchServe hands a form over: an entry for each part."""
    if "body" not in row:
        return row
    refuse_secrets(row)
    parts = parse_form(_bytes(row["body"]), content_type or "")
    return {**{name: v for name, v in row.items() if name != "body"}, **parts}


def _from_form(row: Row) -> tuple[Content, str | None, dict[str, Any]]:
    """A multipart form: one part holds the document, the others are options."""
    names = [name for name in FORM_KEYS if name in row]
    if len(names) != 1:
        raise RequestError(
            "send the document in one form part, named document, image, data or file"
        )
    values = {
        name: _text(name, value)
        for name, value in row.items()
        if name not in names and name not in IGNORED_PARAMETERS
    }
    return _bytes(row[names[0]]), None, values


def _from_query(row: Row) -> dict[str, Any]:
    refuse_secrets(row)
    return {
        name: _text(name, value)
        for name, value in row.items()
        if name != "body" and name not in IGNORED_PARAMETERS
    }


def _from_attributes(attributes: str) -> dict[str, Any]:
    """`pages=1-3;prompt_type=ocr`, as SageMaker's Custom-Attributes carry options."""
    values = {}
    has_secret = _UNLOGGED.search(attributes) is not None
    for item in attributes.split(";"):
        name, equals, value = item.partition("=")
        name, value = name.strip(), value.strip()
        if equals and not (has_secret and _NO_NAME.search(name)):
            values[name] = unquote(value) if name in PERCENT_CODED else value
        elif item.strip():
            # It may be the rest of a password or a prompt with a semicolon in it, and
            # the log has neither.
            shown = "a value with a semicolon" if has_secret else quoted(item.strip())
            raise InvalidOptionError(
                f"{shown} in {CUSTOM_ATTRIBUTES} is not an option; write them as "
                "pages=1-3;prompt_type=ocr, and a semicolon in a prompt as %3B"
            )
    return values


def _label(value: str | None) -> str | None:
    """What may go back in a header as it came."""
    if value is None:
        return None
    if not (value.isascii() and value.isprintable()):
        raise InvalidOptionError(f"{LABEL} must be visible ASCII characters")
    if len(value) > MAX_LABEL_CHARACTERS:
        raise InvalidOptionError(
            f"{LABEL} must have at most {MAX_LABEL_CHARACTERS} characters"
        )
    return value


def _from_body(
    body: Any, media_type: str | None
) -> tuple[Content | Address, str | None, dict[str, Any]]:
    if body is None:
        raise UnsupportedMediaTypeError(
            "the body arrived as a form: send the document itself, for example with "
            "curl --data-binary @page.png -H 'Content-Type: image/png'"
        )
    if not isinstance(body, bytes | bytearray | str):
        return _from_json(body)  # TorchServe can be set to parse it for us
    content = body.encode(errors="surrogatepass") if isinstance(body, str) else body
    if media_type == JSON or media_type in JSON_LINES:
        try:
            members = parse_members(content, DOCUMENT_KEYS)
        except (ValueError, RecursionError) as error:
            hint = "" if media_type == JSON else ": send one line in each request"
            raise RequestError(f"the body is not valid JSON{hint}") from error
        return _from_json(members)
    return content, media_type, {}


def _from_json(body: Any) -> tuple[Content | Address, str | None, dict[str, Any]]:
    if not isinstance(body, Mapping):
        raise RequestError("the JSON body must be an object with a document in it")
    keys = (*DOCUMENT_KEYS, URI_KEY)
    names = [name for name in keys if body.get(name) is not None]
    if not names:
        refuse_foreign(body)
    if len(names) != 1:
        raise RequestError(
            'the JSON body must hold one "document" (or "image"), as base64 or as '
            's3://bucket/key, or one "s3_uri"'
        )
    document = parse_document(names[0], body[names[0]], is_uri=names[0] == URI_KEY)
    options = {name: v for name, v in body.items() if name not in keys}
    return document, None, options


def _bytes(value: T | str) -> T | bytes:
    """Return text as bytes, and bytes without copying them."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return value


def _text(name: str, value: Content | str) -> str:
    if len(value) > MAX_OPTION_BYTES:
        raise option_too_long_error(name)
    try:
        return bytes(_bytes(value)).decode()
    except UnicodeDecodeError as error:
        raise InvalidOptionError(f"{quoted(name)} is not text") from error
