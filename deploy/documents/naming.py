"""Names of results, made from the names of their documents."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from deploy.documents.document import MEDIA_TYPES, Document, Refused
from deploy.documents.options import Option

__all__ = [
    "add_identifier",
    "add_page_ranges",
    "is_result",
    "make_names_distinct",
    "to_storable_name",
]

MAX_PAGES = 60
UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
# Results of ours that lie beside their documents: a.pdf.md, a.pdf.error.json.
RESULTS = (".error.json", ".md", ".html", ".json", ".out")


def is_result(name: str) -> bool:
    """Return whether a name is that of a result, such as a.pdf.md."""
    return any(
        PurePosixPath(name.removesuffix(end)).suffix.lower() in MEDIA_TYPES
        for end in RESULTS
        if name.endswith(end)
    )


def to_storable_name(name: str) -> str:
    """Replace control characters, and bytes that are not UTF-8, by U+FFFD.

    S3 does not accept them in all places.
    """
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", name)


def add_page_ranges(name: str, options: Mapping[str, Option]) -> str:
    """Return a name with the page ranges in `options`, such as a.pages-1-5.pdf.

    Parts of one document then have different results. Long ranges are abbreviated with
    a digest. Without page ranges, the name is returned unchanged.
    """
    pages = options.get("pages")
    if pages is None:
        return name
    text = str(pages)
    if len(text) > MAX_PAGES:
        # A list of all pages could exceed the limit for file names.
        digest = hashlib.sha256(text.encode()).hexdigest()
        text = f"{text[:MAX_PAGES]}…{digest[:8]}"
    return _insert_before_suffix(name, f".pages-{text}")


def add_identifier(name: str, identifier: str, length: int = 8) -> str:
    """Return a name made distinct by an identifier, such as `a~3f9a01bc.pdf`."""
    return _insert_before_suffix(name, f"~{identifier[:length]}")


def _insert_before_suffix(name: str, text: str) -> str:
    # A path would merge the slashes of s3:// and of keys.
    folder, slash, last = name.rpartition("/")
    path = PurePosixPath(last)
    return f"{folder}{slash}{path.stem}{text}{path.suffix}"


def make_names_distinct(
    documents: Sequence[Document], refused: Sequence[Refused]
) -> tuple[tuple[Document, ...], tuple[Refused, ...]]:
    """Return copies of documents and refusals with distinct names.

    Each of several equal names gets the beginning of the digest of its place.
    """
    counts = Counter(document.name for document in documents)
    counts.update(each.name for each in refused if each.is_named)

    def choose_name(each: Document | Refused) -> str:
        return (
            each.name
            if counts[each.name] <= 1
            else add_identifier(each.name, each.place_id)
        )

    return (
        tuple(replace(each, name=choose_name(each)) for each in documents),
        tuple(replace(each, name=choose_name(each)) for each in refused),
    )
