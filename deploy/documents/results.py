"""What came back for a document: read for its facts, and written as people want it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from deploy.errors import ConfigError

__all__ = [
    "ACCEPT",
    "FORMATS",
    "MAY_PASS",
    "Failure",
    "Reading",
    "failure_from",
    "in_format",
    "page_codes",
    "page_errors",
    "reading_from",
]

ACCEPT = {"md": "text/markdown", "html": "text/html", "json": "application/json"}
FORMATS = {media_type: name for name, media_type in ACCEPT.items()}
MAY_PASS = frozenset(
    {
        "engine_failed",
        "engine_unavailable",
        "out_of_memory",
        "overloaded",
        "storage_unavailable",
    }
)
"""Codes of what the service suffered, and not the page: another reading need not meet
it. A deadline is none of them: it would come again where it came."""
MAX_DETAIL = 500
# What the service leaves in Markdown for a page that failed.
PAGE_COMMENT = re.compile(r"^<!-- page \d+: ([a-z_]+): ", re.MULTILINE)
PARAGRAPH = "\n\n"
# In what SageMaker writes the container's answer may stand with its quotes escaped.
CODE = re.compile(r'\\?"code\\?":\s*\\?"([a-z_]+)\\?"')
DETAIL = re.compile(r'\\?"detail\\?":\s*\\?"(.*?)\\?"[,}]')


@dataclass(frozen=True, slots=True)
class Reading:
    """A document that was read."""

    pages_read: int | None = None
    """None where the format does not say."""
    pages_failed: Mapping[str, int] = field(default_factory=dict)
    """Pages that could not be read, by code."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that could not be read."""

    code: str
    detail: str


def reading_from(body: bytes, accept: str) -> Reading:
    """Only JSON tells how many pages there were."""
    if accept != ACCEPT["json"]:
        return Reading()
    try:
        pages = json.loads(body)["pages"]
        codes = Counter(page["error"]["code"] for page in pages if page.get("error"))
        return Reading(len(pages) - codes.total(), dict(codes))
    except (ValueError, KeyError, TypeError):
        return Reading()


def failure_from(body: bytes) -> Failure:
    """The container's own problem where it can be found, or the text as it is."""
    text = body.decode(errors="replace").strip()
    try:
        problem = json.loads(text)
        return Failure(str(problem["code"]), str(problem["detail"])[:MAX_DETAIL])
    except (ValueError, KeyError, TypeError):
        pass
    code, detail = CODE.search(text), DETAIL.search(text)
    return Failure(
        code[1] if code else "failed",
        (detail[1] if detail else text or "nothing was said")[:MAX_DETAIL],
    )


def page_codes(body: bytes, accept: str) -> set[str]:
    """Codes of its pages that failed, as far as the format says."""
    if accept == ACCEPT["md"]:
        return set(PAGE_COMMENT.findall(body.decode(errors="replace")))
    return {error["code"] for error in page_errors(body, accept)}


def page_errors(body: bytes, accept: str) -> list[dict[str, Any]]:
    """Of a document that was read in part: page, code and detail."""
    if accept != ACCEPT["json"]:
        return []
    try:
        return [
            {"page": page["page"], **page["error"]}
            for page in json.loads(body)["pages"]
            if page.get("error")
        ]
    except (ValueError, KeyError, TypeError):
        return []


def in_format(body: bytes, accept: str, wanted: str) -> bytes:
    """As `md`, `html` or `json`; raises ConfigError where it was not asked for so."""
    given = FORMATS.get(accept)
    if given == wanted:
        return body
    if given != "json":
        raise ConfigError(
            f"it was submitted as {given or accept}, which does not become {wanted}",
            hint="chandra-sagemaker async submit without --format: JSON becomes all",
        )
    try:
        document = json.loads(body)
        text = _markdown(document) if wanted == "md" else _html(document)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "the answer is no document of ours", hint="async fetch --format json"
        ) from error
    return text.encode()


def _markdown(document: Mapping[str, Any]) -> str:
    """As the service writes it when it is asked for Markdown, byte for byte."""
    parts = []
    for page in document["pages"]:
        parts.append(str(page["markdown"]))
        if page.get("error"):
            code, detail = page["error"]["code"], str(page["error"]["detail"])
            # Two hyphens or a `>` could end the comment.
            detail = re.sub(r"-{2,}", "-", " ".join(detail.split())).replace(">", ")")
            parts.append(f"<!-- page {int(page['page'])}: {code}: {detail} -->")
    text = PARAGRAPH.join(part for part in parts if part)
    return f"{text}\n" if text else ""


def _html(document: Mapping[str, Any]) -> str:
    """The pages one below the other; what is in them has been cleaned already."""
    body = "\n".join(
        f'<section id="page-{int(page["page"])}">\n{_page(page)}\n</section>'
        for page in document["pages"]
    )
    return (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        '<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>Document</title>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _page(page: Mapping[str, Any]) -> str:
    if not page.get("error"):
        return str(page["html"])
    detail = escape(str(page["error"].get("detail")))
    return f"<p>Page {int(page['page'])} could not be read: {detail}</p>"
