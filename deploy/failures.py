"""Permanent failures of documents, and advice on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

__all__ = ["PERMANENT", "advice_lines", "is_permanent"]

PERMANENT: Mapping[str, str] = {
    "bad_request": "see the reason: the request is not valid",
    "deadline_exceeded": "ask for fewer pages: a manifest with pages, or --pages",
    "document_forbidden": "let the role read it, or restore it from its archive",
    "document_not_found": "upload it to that address, or give another address",
    "document_too_large": "split it, or ask for fewer pages",
    "invalid_option": "correct the options of its line in the manifest",
    "not_acceptable": "ask for another --format",
    "password_required": "qpdf --decrypt, then submit its output; or invoke "
    "--password-env NAME",
    "password_wrong": "invoke --password-env NAME with its own password",
    "unreadable_document": "repair or replace the file: it is damaged or empty",
    "unsupported_media_type": "convert it to PDF or to an image",
}
"""Advice by error code, for codes with which a document fails each time it is read.

These are the codes of the service's statuses 400 to 499, except for `document_changed`
and `client_gone`, and `deadline_exceeded`: a document that took too long once takes too
long again. A test compares them with the codes of the service."""
NUM_SHOWN = 5


def is_permanent(code: str | None) -> bool:
    """Return True if a document that failed with `code` would fail again."""
    return code in PERMANENT


def advice_lines(failed: Mapping[str, Sequence[str]]) -> list[str]:
    """Return two lines for each code of permanent failures: its documents, and advice.

    `failed` are names of documents by code. At most five names of a code are written.
    Raises KeyError for a code that is not in PERMANENT.
    """
    lines = []
    for code, names in sorted(failed.items()):
        shown = ", ".join(islice(names, NUM_SHOWN))
        more = len(names) - NUM_SHOWN
        shown += f" and {more:,} more" if more > 0 else ""
        lines.append(f"{len(names):,} would fail again, with {code}: {shown}")
        lines.append(f"  try: {PERMANENT[code]}")
    return lines
