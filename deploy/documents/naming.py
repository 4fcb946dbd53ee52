"""How results are named: after their documents, and no two alike."""

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
    "is_result",
    "to_storable_name",
    "with_distinct_names",
    "with_identifier",
    "with_pages",
]

MAX_PAGES = 60
UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
# Results of ours that lie beside their documents: a.pdf.md, a.pdf.error.json.
RESULTS = (".error.json", ".md", ".html", ".json", ".out")


def is_result(name: str) -> bool:
    """Whether what is called so was made by us from a document."""
    return any(
        PurePosixPath(name.removesuffix(end)).suffix.lower() in MEDIA_TYPES
        for end in RESULTS
        if name.endswith(end)
    )


def to_storable_name(name: str) -> str:
    """As every server takes it: a file's name may hold bytes that are no text, and
    line ends."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", name)


def with_pages(name: str, options: Mapping[str, Option]) -> str:
    """a.pages-1-5.pdf: parts of one document do not write over each other."""
    pages = options.get("pages")
    if pages is None:
        return name
    text = str(pages)
    if len(text) > MAX_PAGES:
        # No file system takes a name that lists them all.
        digest = hashlib.sha256(text.encode()).hexdigest()
        text = f"{text[:MAX_PAGES]}…{digest[:8]}"
    return _inserted(name, f".pages-{text}")


def with_identifier(name: str, identifier: str, length: int = 8) -> str:
    """Return a name made distinct by an identifier, such as `a~3f9a01bc.pdf`."""
    return _inserted(name, f"~{identifier[:length]}")


def _inserted(name: str, text: str) -> str:
    # No path: s3:// has two slashes, and a key may have more.
    folder, slash, last = name.rpartition("/")
    path = PurePosixPath(last)
    return f"{folder}{slash}{path.stem}{text}{path.suffix}"


def with_distinct_names(
    documents: Sequence[Document], refused: Sequence[Refused]
) -> tuple[tuple[Document, ...], tuple[Refused, ...]]:
    """Two of one name get the beginning of their place into it."""
    names = Counter(document.name for document in documents)
    names.update(each.name for each in refused if each.is_named)

    def named(each: Document | Refused) -> str:
        return (
            each.name
            if names[each.name] <= 1
            else with_identifier(each.name, each.place)
        )

    return (
        tuple(replace(each, name=named(each)) for each in documents),
        tuple(replace(each, name=named(each)) for each in refused),
    )
