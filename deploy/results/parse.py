"""Results of documents: pages read and failed, and conversion between formats."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape, unescape
from itertools import islice
from typing import Any

from deploy.errors import ConfigError
from deploy.results.formats import ACCEPT, FORMATS
from deploy.results.sanitise import POLICY, cleaner_of

__all__ = [
    "NUM_NAMED",
    "TRANSIENT_CODES",
    "Failure",
    "Reading",
    "convert_result",
    "failure_from",
    "page_errors",
    "part_lines",
    "reading_from",
]

TRANSIENT_CODES = frozenset(
    {
        "engine_failed",
        "engine_unavailable",
        "out_of_memory",
        "overloaded",
        "storage_unavailable",
    }
)
"""Error codes whose cause is the service and not the page, so that a retry may help. An
exceeded deadline is not among them, because it would be exceeded again."""
MAX_DETAIL = 500
NUM_NAMED = 20
UNKNOWN_CODE = "unknown"
# Text that the service writes for a failed page; HTML and text do not contain the code.
LOST_PAGE = {
    media_type: re.compile(pattern, re.MULTILINE)
    for media_type, pattern in (
        (
            "text/markdown",
            r"^<!-- page (?P<page>\d+): (?P<code>[a-z_]+): (?P<detail>.*) -->$",
        ),
        (
            "text/html",
            r'^<p class="page-error">Page (?P<page>\d+) could not be read: '
            r"(?P<detail>.*)</p>$",
        ),
        ("text/plain", r"^\[page (?P<page>\d+) could not be read: (?P<detail>.*)\]$"),
    )
}
PARAGRAPH = "\n\n"
RULE = "-" * 48
"""Line that follows a page number between the pages of paginated Markdown."""
# The number before a rule in the text of a page, which pagination escapes.
LOOKALIKE = re.compile(rf"^([ \t]*\d+)(?={RULE}[ \t]*$)", re.MULTILINE)
# SageMaker may quote the container's answer with escaped quotes.
CODE = re.compile(r'\\?"code\\?":\s*\\?"([a-z_]+)\\?"')
DETAIL = re.compile(r'\\?"detail\\?":\s*\\?"(.*?)\\?"[,}]')


@dataclass(frozen=True, slots=True)
class Reading:
    """Numbers of pages of a document that were read and that failed."""

    pages_read: int | None = None
    """Number of pages read; None if the format does not tell."""
    pages_failed: Mapping[str, int] = field(default_factory=dict)
    """Number of failed pages by error code."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Reason why a document could not be read."""

    code: str
    detail: str


def reading_from(body: bytes, accept: str) -> Reading:
    """Return how many pages of a result were read, and how many failed.

    `accept` is the media type of the result. Only JSON contains the number of pages
    that were read. Invalid JSON gives an empty Reading.
    """
    if accept != ACCEPT["json"]:
        failed = Counter(error["code"] for error in page_errors(body, accept))
        return Reading(pages_failed=dict(failed))
    try:
        pages = json.loads(body)["pages"]
        codes = Counter(page["error"]["code"] for page in pages if page.get("error"))
        return Reading(len(pages) - codes.total(), dict(codes))
    except (ValueError, KeyError, TypeError):
        return Reading()


def failure_from(body: bytes) -> Failure:
    """Return the container's error from the failure that SageMaker wrote.

    If it contains no error of the container, the code is `failed` and the detail its
    text. Details are cut after 500 characters.
    """
    text = body.decode(errors="replace").strip()
    try:
        problem = json.loads(text)
        return Failure(str(problem["code"]), str(problem["detail"])[:MAX_DETAIL])
    except (ValueError, KeyError, TypeError):
        pass
    code, detail = CODE.search(text), DETAIL.search(text)
    return Failure(
        code[1] if code else "failed",
        (detail[1] if detail else text or "no error message")[:MAX_DETAIL],
    )


def page_errors(body: bytes, accept: str) -> list[dict[str, Any]]:
    """Return page, code and detail of each failed page of a result.

    The code is `unknown` in HTML and text, which do not contain it. Invalid JSON gives
    an empty list.
    """
    if accept in LOST_PAGE:
        return [
            {
                "page": int(match["page"]),
                "code": match.groupdict().get("code") or UNKNOWN_CODE,
                "detail": unescape(match["detail"]),
            }
            for match in LOST_PAGE[accept].finditer(body.decode(errors="replace"))
        ]
    try:
        return [
            {"page": page["page"], **page["error"]}
            for page in json.loads(body)["pages"]
            if page.get("error")
        ]
    except (ValueError, KeyError, TypeError):
        return []


def part_lines(missing: Mapping[str, Mapping[int, str]]) -> list[str]:
    """Return lines that name the documents with missing pages, and these pages.

    `missing` has the error codes by page number, by document. At most 20 documents are
    named, and a last line counts the others.
    """
    incomplete = {name: pages for name, pages in missing.items() if pages}
    lines = [
        f"in part: {name} lacks {_pages(pages)}"
        for name, pages in islice(incomplete.items(), NUM_NAMED)
    ]
    if len(incomplete) > NUM_NAMED:
        lines.append(f"in part: {len(incomplete) - NUM_NAMED:,} more; --json names all")
    return lines


def _pages(pages: Mapping[int, str]) -> str:
    """Return pages by code: `page 2 (engine_failed), pages 5-6, 9 (overloaded)`."""
    by_code: dict[str, list[int]] = {}
    for page, code in sorted(pages.items()):
        by_code.setdefault(code, []).append(page)
    return ", ".join(
        f"page{'s' if len(numbers) > 1 else ''} {_ranges(numbers)} ({code})"
        for code, numbers in by_code.items()
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as ranges: `1-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def convert_result(body: bytes, accept: str, target: str) -> bytes:
    """Return a result converted to the format `target`: `md`, `html` or `json`.

    `accept` is the media type of the result. JSON can be converted to all of them, and
    other formats only stay what they are. Raises ConfigError for another conversion, or
    if the JSON is not a valid document.
    """
    source = FORMATS.get(accept)
    if source == target:
        return body
    if source != "json":
        raise ConfigError(
            f"it was submitted as {source or accept}, which cannot be converted to "
            f"{target}",
            hint="chandra-sagemaker async submit without --format: JSON can be "
            "converted to every format",
        )
    try:
        document = json.loads(body)
        text = _markdown(document) if target == "md" else _html(document)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "the result is not a valid document", hint="async fetch --format json"
        ) from error
    # JSON can contain lone surrogates, which UTF-8 cannot encode; replace them.
    return text.encode("utf-8", "replace")


def _markdown(document: Mapping[str, Any]) -> str:
    """Return the Markdown of a document, equal to the service's byte for byte.

    Errors of pages become comments.
    """
    pages = {int(page["page"]): str(page["markdown"]) for page in document["pages"]}
    is_paginated = document.get("markdown") == _paginated(pages)
    texts: dict[int, str] = {}
    for page in document["pages"]:
        parts = [str(page["markdown"])]
        if page.get("error"):
            code, detail = page["error"]["code"], str(page["error"]["detail"])
            # Two hyphens or a `>` could end the comment.
            detail = re.sub(r"-{2,}", "-", " ".join(detail.split())).replace(">", ")")
            parts.append(f"<!-- page {int(page['page'])}: {code}: {detail} -->")
        texts[int(page["page"])] = PARAGRAPH.join(part for part in parts if part)
    if is_paginated:
        text = _paginated(texts)
    else:
        text = PARAGRAPH.join(text for text in texts.values() if text)
    return f"{text}\n" if text else ""


def _paginated(pages: Mapping[int, str]) -> str:
    """Join pages with numbered rules, as the service does with `paginate`."""
    joined = ""
    for index, (number, text) in enumerate(pages.items()):
        if index:
            joined += f"\n\n{number - 1}{RULE}\n\n"
        joined += LOOKALIKE.sub(r"\1\\", text)
    return joined


def _html(document: Mapping[str, Any]) -> str:
    """Return an HTML document of all pages, cleaned, with their pictures."""
    body = "\n".join(
        f'<section id="page-{int(page["page"])}">\n{_page(page)}\n</section>'
        for page in document["pages"]
    )
    return (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>Document</title>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _page(page: Mapping[str, Any]) -> str:
    """Return the cleaned HTML of a page, followed by its error."""
    clean = cleaner_of(page)
    parts = [clean(str(page["html"]))] if page["html"] else []
    if page.get("error"):
        detail = escape(" ".join(str(page["error"]["detail"]).split()))
        sentence = f"Page {int(page['page'])} could not be read: {detail}"
        parts.append(f'<p class="page-error">{sentence}</p>')
    return "\n".join(parts)
