"""Write a document as the body of a reply.

A page that could not be read leaves a trace in every format, so that nobody takes
the pages around it for the whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from handler.pagination import paginated
from handler.postprocess.pictures import in_html
from handler.postprocess.sanitise import clean_page
from handler.schema import PAGE_SEPARATOR, DocumentResult, PageError, PageResult

__all__ = ["end_line", "page_line", "render"]


def render(document: DocumentResult, media_type: str) -> bytes:
    """The whole document in one of the types of `ACCEPTED`."""
    match media_type:
        case "application/json":
            return _encoded(_json(document.to_json()))
        case "text/markdown":
            pages = [(page.page, _markdown(page)) for page in document.pages]
            if document.is_paginated:
                return _joined([paginated(pages)])
            return _joined([text for _, text in pages])
        case "text/plain":
            return _joined([_plain(page) for page in document.pages])
        case "text/html":
            return _encoded(_html(document))
        case "application/x-ndjson":
            lines = [page_line(page, document.request_id) for page in document.pages]
            return b"".join([*lines, end_line(document)])
    raise ValueError(f"no document is written as {media_type}")


def page_line(page: PageResult, request_id: str) -> bytes:
    """One page as a line of NDJSON."""
    return _line({"event": "page", "request_id": request_id, **page.to_json()})


def end_line(document: DocumentResult) -> bytes:
    """The last line of NDJSON: how the document as a whole fared."""
    summary = document.to_json()
    names = (
        "request_id",
        "status",
        "model",
        "num_pages",
        "warnings",
        "processing_time",
        "usage",
    )
    return _line({"event": "end", **{name: summary[name] for name in names}})


def _joined(pages: list[str]) -> bytes:
    text = PAGE_SEPARATOR.join(page for page in pages if page)
    return _encoded(text + "\n" if text else "")


def _encoded(text: str) -> bytes:
    # A lone surrogate has no UTF-8; one bad character must not cost the document.
    return text.encode("utf-8", "replace")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# JSON may hold these as they are, but to many readers they end a line.
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def _line(value: Mapping[str, Any]) -> bytes:
    return _encoded(_json(value).translate(_LINE_ENDS) + "\n")


def _markdown(page: PageResult) -> str:
    parts = [page.content.markdown]
    if page.error is not None:
        # Two hyphens or a `>` could end the comment.
        detail = re.sub(r"-{2,}", "-", _sentence(page.error)).replace(">", ")")
        parts.append(f"<!-- page {page.page}: {page.error.code}: {detail} -->")
    return PAGE_SEPARATOR.join(part for part in parts if part)


def _plain(page: PageResult) -> str:
    parts = [page.content.text]
    if page.error is not None:
        parts.append(f"[page {page.page} could not be read: {_sentence(page.error)}]")
    return PAGE_SEPARATOR.join(part for part in parts if part)


def _sentence(error: PageError) -> str:
    return " ".join(error.detail.split())


_PAGE = """\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>Document</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
# The content is clean; this keeps it so wherever the file is opened.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
_STYLE = """
body { font: 1rem/1.5 serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
section + section { border-top: 1px solid #ccc; margin-top: 2rem; padding-top: 2rem }
table { border-collapse: collapse }
td, th { border: 1px solid #ccc; padding: .2rem .5rem; vertical-align: top }
img { max-width: 100% }
pre { overflow-x: auto }
math[display=block] { display: block; margin: 1rem 0; text-align: center }
.page-error { color: #a00 }
"""


def _html(document: DocumentResult) -> str:
    body = "\n".join(_section(page) for page in document.pages)
    return _PAGE.format(policy=_POLICY, style=_STYLE, body=body)


def _section(page: PageResult) -> str:
    parts = [f'<section id="page-{page.page}">']
    if page.content.html:
        html = clean_page(page.content.html)
        parts.append(in_html(html, page.images))
    if page.error is not None:
        sentence = f"Page {page.page} could not be read: {_sentence(page.error)}"
        parts.append(f'<p class="page-error">{escape(sentence)}</p>')
    return "\n".join([*parts, "</section>"])
