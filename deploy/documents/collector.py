"""Documents and refusals that one search has collected, named after their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath

from deploy.documents.document import (
    UNKNOWN_TYPE,
    AbsenceReason,
    Document,
    FoundDocuments,
    Refused,
    media_type_by_name,
)
from deploy.documents.naming import (
    add_page_ranges,
    is_result,
    make_names_distinct,
    to_storable_name,
)
from deploy.documents.options import Option, count_selected_pages
from deploy.documents.rejection import EMPTY, NO_DOCUMENT, UNREADABLE, UNSUPPORTED

__all__ = ["ONE_PAGE", "Candidate", "Collector", "has_document_suffix"]

ONE_PAGE = ("image/png", "image/jpeg", "image/bmp")
"""Media types whose files have exactly one page."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Readable file or object that may become a document."""

    source: str
    """An absolute path, or s3://bucket/key."""
    name: str
    """Name of its results, without pages."""
    media_type: str | None
    """None if its bytes are not a supported document."""
    size: int
    """Bytes."""
    content_key: str
    """Key of its contents, as `Document.content_key`."""
    options: Mapping[str, Option]
    num_pages: int | None
    """Pages of the whole document; None if they are unknown."""
    modified: datetime | None = None


@dataclass
class Collector:
    """Collection of documents and refusals, in the order in which they were found."""

    accept: str
    """Media type of the results."""
    with_hidden: bool = False
    """True to include files of folders whose path has a name that begins with a dot."""
    documents: list[Document] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    """Inputs without a document or a refusal."""
    num_hidden: int = 0

    @property
    def num_collected(self) -> int:
        """Number of documents and refusals so far."""
        return len(self.documents) + len(self.refused)

    def build_result(self) -> FoundDocuments:
        """Return the documents and refusals, each place once, with distinct names."""
        documents = {document.place_id: document for document in self.documents}
        refused = {r.place_id: r for r in self.refused if r.place_id not in documents}
        named = make_names_distinct(list(documents.values()), list(refused.values()))
        return FoundDocuments(*named, tuple(self.empty), self.num_hidden)

    def add(self, candidate: Candidate) -> None:
        """Add a candidate as a document, or refuse it if it is empty or unsupported."""
        source, name, options = candidate.source, candidate.name, candidate.options
        if candidate.size == 0:
            self.refuse(source, name, options, EMPTY, UNREADABLE)
            return
        if candidate.media_type is None:
            self.refuse(source, name, options, NO_DOCUMENT, UNSUPPORTED)
            return
        pages = options.get("pages")
        chosen = None if pages is None else str(pages)
        self.documents.append(
            Document(
                name=add_page_ranges(to_storable_name(name), options),
                source=source,
                media_type=candidate.media_type,
                size=candidate.size,
                content_key=candidate.content_key,
                options=options,
                accept=self.accept,
                num_pages=count_selected_pages(chosen, candidate.num_pages),
                modified=candidate.modified,
            )
        )

    def refuse(
        self,
        source: str,
        name: str,
        options: Mapping[str, Option],
        reason: str,
        code: str,
    ) -> None:
        """Record a document that was named but cannot be read, with its error code."""
        name = add_page_ranges(
            to_storable_name(name or PurePosixPath(source).name), options
        )
        self.refused.append(
            Refused(
                source, reason, code, name=name, options=options, accept=self.accept
            )
        )

    def refuse_unsupported(self, source: str, name: str) -> None:
        """Refuse a file or object that was found in a folder, because of its type."""
        kind = PurePosixPath(name).suffix or "no suffix"
        self.refused.append(
            Refused(source, f"not a type we read: {kind}", UNSUPPORTED, False)
        )

    def refuse_unreadable(self, path: Path, reason: str) -> None:
        """Record a file or folder that was found in a folder and cannot be read."""
        code = AbsenceReason.FORBIDDEN.value
        self.refused.append(Refused(str(path), reason, code, False))

    def accepts_name(self, name: str) -> bool:
        """Return whether a file in a folder is to be read, by its path in the folder.

        Results of earlier runs are not. Hidden files are not, unless `with_hidden` is
        set; they are counted in `num_hidden`.
        """
        path = PurePosixPath(name)
        if is_result(path.name):
            return False
        hidden = (part.startswith(".") and part != ".." for part in path.parts)
        if any(hidden) and not self.with_hidden:
            self.num_hidden += 1
            return False
        return True


def has_document_suffix(name: str) -> bool:
    """Return whether the suffix of a name is that of a supported document."""
    return media_type_by_name(PurePosixPath(name)) != UNKNOWN_TYPE
