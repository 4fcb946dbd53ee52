"""How results are named: after their documents, and no two alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from deploy.documents.document import MEDIA_TYPES, Document, Refused
from deploy.documents.options import Option

__all__ = ["is_result", "named_apart", "with_pages"]

# Results of ours that lie beside their documents: a.pdf.md, a.pdf.error.json.
RESULTS = (".error.json", ".md", ".html", ".json", ".out")


def is_result(name: str) -> bool:
    """Whether what is called so was made by us from a document."""
    return any(
        PurePosixPath(name.removesuffix(end)).suffix.lower() in MEDIA_TYPES
        for end in RESULTS
        if name.endswith(end)
    )


def with_pages(name: str, options: Mapping[str, Option]) -> str:
    """a.pages-1-5.pdf: parts of one document do not write over each other."""
    pages = options.get("pages")
    return name if pages is None else _inserted(name, f".pages-{pages}")


def _inserted(name: str, text: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}{text}{path.suffix}"))


def named_apart(
    documents: Sequence[Document], refused: Sequence[Refused]
) -> tuple[tuple[Document, ...], tuple[Refused, ...]]:
    """Two of one name get the beginning of their place into it."""
    names = Counter(document.name for document in documents)
    names.update(each.name for each in refused if each.is_named)

    def apart(each: Document | Refused) -> str:
        if names[each.name] <= 1:
            return each.name
        return _inserted(each.name, f"~{each.place[:8]}")

    return (
        tuple(replace(each, name=apart(each)) for each in documents),
        tuple(replace(each, name=apart(each)) for each in refused),
    )
