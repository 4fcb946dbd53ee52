"""Documents among local files and folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.documents.collector import (
    ONE_PAGE,
    Candidate,
    Collector,
    has_document_suffix,
)
from deploy.documents.document import AbsenceReason, media_type_by_name
from deploy.documents.options import Option
from deploy.documents.signatures import choose_media_type, is_unmistakable, read_sample

__all__ = ["FileFinder", "resolve_parent"]


class FileFinder:
    """Search that adds local files to a collector."""

    def __init__(
        self, collector: Collector, count: Callable[[Path], int | None]
    ) -> None:
        """Set up a search; `count` returns a file's number of pages, or None."""
        self._collector = collector
        self._count = count

    def add_folder(self, folder: Path, options: Mapping[str, Option]) -> None:
        """Add every document in a folder and below.

        Links to folders, broken links and unreadable folders are refused.
        """
        for path in self._paths_below(folder):
            name = path.relative_to(folder).as_posix()
            if not self._collector.accepts_name(name):
                continue
            if path.is_dir():
                # The link may lead back to the folder that contains it.
                self._collector.refuse_unreadable(
                    path, "a link to a folder, which is not followed"
                )
            elif path.is_symlink() and not path.exists():
                self._collector.refuse_unreadable(
                    path, "a link to a file that is not there"
                )
            elif path.is_file() and (
                has_document_suffix(name) or self._check_is_document(path)
            ):
                self.add_file(path, name, options)

    def add_file(self, path: Path, name: str, options: Mapping[str, Option]) -> None:
        """Add one file, or refuse it if it cannot be read or is not a document.

        Reads all of its bytes. `name` is the name of its results.
        """
        path = resolve_parent(path)
        try:
            size = path.stat().st_size
            sample = read_sample(path)
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            code = AbsenceReason.FORBIDDEN.value
            self._collector.refuse(str(path), name, options, reason, code)
            return
        kind = choose_media_type(sample, media_type_by_name(path))
        num_pages = 1 if kind in ONE_PAGE else self._count(path)
        self._collector.add(
            Candidate(str(path), name, kind, size, content, options, num_pages)
        )

    def _paths_below(self, folder: Path) -> list[Path]:
        """Return the files in a folder and below, and links to folders, sorted."""
        paths = []
        for parent, folders, names in os.walk(folder, onerror=self._refuse_folder):
            links = [name for name in folders if Path(parent, name).is_symlink()]
            paths += [Path(parent, name) for name in (*links, *names)]
        return sorted(paths)

    def _refuse_folder(self, error: OSError) -> None:
        reason = f"a folder that cannot be read: {error.strerror}"
        self._collector.refuse_unreadable(Path(str(error.filename)), reason)

    def _check_is_document(self, path: Path) -> bool:
        """Return whether the bytes of a file are a document; refuse it if not."""
        try:
            if is_unmistakable(read_sample(path)):
                return True
            self._collector.refuse_unsupported(str(path), path.name)
        except OSError as error:
            self._collector.refuse_unreadable(path, f"cannot be read: {error.strerror}")
        return False


def resolve_parent(path: Path) -> Path:
    """Resolve links in the folders of a path, but not the file itself.

    The results of a symbolic link are written beside the link, not its target.
    """
    return path.parent.resolve() / path.name
