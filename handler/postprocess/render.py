"""Rendering of a document's result as the body of a reply.

Every format names the pages that could not be read, so that a reader notices that they
are missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from handler.pagination import paginate
from handler.postprocess.html.sanitise import clean_page
from handler.postprocess.pictures import insert_pictures
from handler.schema import PAGE_SEPARATOR, DocumentResult, PageError, PageResult

__all__ = ["end_line", "page_line", "render"]


def render(document: DocumentResult, media_type: str) -> bytes:
    """Return the body of a reply in one of the media types of `negotiate.ACCEPTED`.

    Raises ValueError for any other media type.
    """
    match media_type:
        case "application/json":
            return _encode(_to_json(document.to_json()))
        case "text/markdown":
            pages = [(page.page, _page_to_markdown(page)) for page in document.pages]
            if document.is_paginated:
                return _join_pages([paginate(pages)])
            return _join_pages([text for _, text in pages])
        case "text/plain":
            return _join_pages([_page_to_text(page) for page in document.pages])
        case "text/html":
            return _encode(_to_html(document))
        case "application/x-ndjson":
            lines = [page_line(page, document.request_id) for page in document.pages]
            return b"".join([*lines, end_line(document)])
    raise ValueError(f"no document is written as {media_type}")


def page_line(page: PageResult, request_id: str) -> bytes:
    """Return a page as a line of NDJSON, with the event `page`."""
    return _to_json_line({"event": "page", "request_id": request_id, **page.to_json()})


def end_line(document: DocumentResult) -> bytes:
    """Return the last line of NDJSON: the event `end` with the status and usage."""
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
    return _to_json_line({"event": "end", **{name: summary[name] for name in names}})


def _join_pages(pages: list[str]) -> bytes:
    text = PAGE_SEPARATOR.join(page for page in pages if page)
    return _encode(text + "\n" if text else "")


def _encode(text: str) -> bytes:
    # A lone surrogate has no UTF-8 encoding; it becomes "?" and the rest is kept.
    return text.encode("utf-8", "replace")


def _to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# JSON allows these unescaped, but many readers end a line at them.
_LINE_SEPARATOR_ESCAPES = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def _to_json_line(value: Mapping[str, Any]) -> bytes:
    return _encode(_to_json(value).translate(_LINE_SEPARATOR_ESCAPES) + "\n")


def _page_to_markdown(page: PageResult) -> str:
    parts = [page.content.markdown]
    if page.error is not None:
        # Two hyphens or a `>` could end the HTML comment.
        detail = re.sub(r"-{2,}", "-", _error_sentence(page.error)).replace(">", ")")
        parts.append(f"<!-- page {page.page}: {page.error.code}: {detail} -->")
    return PAGE_SEPARATOR.join(part for part in parts if part)


def _page_to_text(page: PageResult) -> str:
    parts = [page.content.text]
    if page.error is not None:
        parts.append(
            f"[page {page.page} could not be read: {_error_sentence(page.error)}]"
        )
    return PAGE_SEPARATOR.join(part for part in parts if part)


def _error_sentence(error: PageError) -> str:
    return " ".join(error.detail.split())


_DOCUMENT_TEMPLATE = """\
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
# The content is sanitised; the policy is a second defence if the file is opened.
_CONTENT_SECURITY_POLICY = (
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


def _to_html(document: DocumentResult) -> str:
    body = "\n".join(_page_to_html(page) for page in document.pages)
    return _DOCUMENT_TEMPLATE.format(
        policy=_CONTENT_SECURITY_POLICY, style=_STYLE, body=body
    )


def _page_to_html(page: PageResult) -> str:
    parts = [f'<section id="page-{page.page}">']
    if page.content.html:
        html = clean_page(page.content.html)
        parts.append(insert_pictures(html, page.images))
    if page.error is not None:
        sentence = f"Page {page.page} could not be read: {_error_sentence(page.error)}"
        parts.append(f'<p class="page-error">{escape(sentence)}</p>')
    return "\n".join([*parts, "</section>"])
