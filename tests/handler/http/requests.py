"""Requests to parse, as TorchServe passes them to the handler."""

from __future__ import annotations

import base64
import json

from handler.http.request import CUSTOM_ATTRIBUTES, OCRRequest, parse_request

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
