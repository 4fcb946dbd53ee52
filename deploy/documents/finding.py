"""Files, folders, objects in S3 and manifests, made into a list of documents.

A manifest is JSON Lines, here or in S3, one object a document:
{"document": "s3://bucket/scan.pdf", "pages": "1-5", "name": "scan-1.pdf"}
`document` is an object, or a file beside the manifest; `name` may be left out, and
everything else is an option of the service. What cannot be read is reported with its
reason, and everything else goes on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from deploy.documents.document import (
    S3,
    UNKNOWN_TYPE,
    Absent,
    Document,
    Found,
    Objects,
    Refused,
    StoredObject,
    media_type_by_name,
    split_uri,
)
from deploy.documents.entries import Entry, entries_of, is_relative
from deploy.documents.naming import is_result, named_apart, storable, with_pages
from deploy.documents.options import Option, checked_options, num_chosen
from deploy.documents.rejection import (
    ABSENT,
    EMPTY,
    NO_DOCUMENT,
    UNREADABLE,
    UNSUPPORTED,
    archived,
)
from deploy.documents.signatures import (
    Sample,
    is_unmistakable,
    sample_of,
    type_by_bytes,
)
from deploy.errors import NotFoundError

__all__ = ["MANIFESTS", "find_again", "find_documents", "resolve_parent"]

MANIFESTS = (".jsonl", ".ndjson")
ONE_PAGE = ("image/png", "image/jpeg", "image/bmp")


def find_documents(
    inputs: Sequence[str],
    objects: Objects,
    *,
    options: Mapping[str, Option] | None = None,
    accept: str = "application/json",
    count: Callable[[Path], int | None] = lambda path: None,
    with_hidden: bool = False,
) -> Found:
    """Find the documents that `inputs` name, each once, in a stable order.

    `options` are for all; a line of a manifest may say otherwise. `count` says how many
    pages a file has. `with_hidden` also takes files of folders whose name, or the name
    of a folder above them, begins with a dot. Raises NotFoundError where an input does
    not exist, ConfigError where it or a line of a manifest makes no sense.
    """
    checked = checked_options(options or {})
    finder = _Finder(objects, checked, accept, count, with_hidden=with_hidden)
    for each in inputs:
        finder.add(each)
    return finder.found()


def find_again(
    refused: Sequence[Refused],
    objects: Objects,
    *,
    count: Callable[[Path], int | None] = lambda path: None,
) -> Found:
    """What could not be read before, looked at once more, each under its own name."""
    documents: list[Document] = []
    still: list[Refused] = []
    for accept in {each.accept for each in refused}:
        finder = _Finder(objects, {}, accept, count)
        asked = [each for each in refused if each.accept == accept]
        finder.entries(
            [Entry(each.source, None, dict(each.options)) for each in asked], Path()
        )
        names = {each.place: each.name for each in asked}
        documents += [
            replace(d, name=names.get(d.place, d.name)) for d in finder.documents
        ]
        still += [replace(r, name=names.get(r.place, r.name)) for r in finder.refused]
    return Found(tuple(documents), tuple(still))


@dataclass(frozen=True, slots=True)
class _Asked:
    """One S3 object that the inputs name."""

    item: StoredObject
    name: str
    options: Mapping[str, Option]
    is_named: bool = True
    """Somebody named it, or its own name says that it is a document."""


class _Finder:
    def __init__(
        self,
        objects: Objects,
        options: Mapping[str, Option],
        accept: str,
        count: Callable[[Path], int | None],
        *,
        with_hidden: bool = False,
    ) -> None:
        self.documents: list[Document] = []
        self.refused: list[Refused] = []
        self._empty: list[str] = []
        self._num_hidden = 0
        self._with_hidden = with_hidden
        self._objects = objects
        self._options = options
        self._accept = accept
        self._count = count

    def found(self) -> Found:
        """All that was added, each once."""
        documents = {document.place: document for document in self.documents}
        refused = {r.place: r for r in self.refused if r.place not in documents}
        named = named_apart(list(documents.values()), list(refused.values()))
        return Found(*named, tuple(self._empty), self._num_hidden)

    def add(self, each: str) -> None:
        num_before = len(self.documents) + len(self.refused)
        self._add(each)
        if len(self.documents) + len(self.refused) == num_before:
            self._empty.append(each)

    def _add(self, each: str) -> None:
        if each.startswith(S3):
            self._stored(each)
            return
        path = Path(each)
        hint = "a path here, s3://bucket/prefix or a manifest"
        try:
            is_folder, is_file = path.is_dir(), path.is_file()
            is_manifest = is_file and path.suffix.lower() in MANIFESTS
            content = path.read_bytes() if is_manifest else b""
        except OSError as error:
            words = f"{each} cannot be read: {error.strerror}"
            raise NotFoundError(words, hint=hint) from error
        if is_folder:
            self._folder(path)
        elif is_manifest:
            self._manifest(content, each, path.parent)
        elif is_file:
            self._file(path, path.name, self._options)
        else:
            raise NotFoundError(f"there is no file or folder {each}", hint=hint)

    def _folder(self, folder: Path) -> None:
        for path in self._paths_below(folder):
            name = path.relative_to(folder).as_posix()
            if not self._is_wanted(name):
                continue
            if path.is_dir():
                # It may lead back to the folder that it lies in.
                self._refuse_unreadable(
                    path, "a link to a folder, which is not followed"
                )
            elif path.is_symlink() and not path.exists():
                self._refuse_unreadable(path, "a link to a file that is not there")
            elif path.is_file() and (
                _has_document_suffix(name) or self._is_document(path)
            ):
                self._file(path, name, self._options)

    def _paths_below(self, folder: Path) -> list[Path]:
        """Return what is in a folder and below, but for folders themselves."""
        paths = []
        for above, folders, names in os.walk(folder, onerror=self._pass_over_folder):
            links = [name for name in folders if Path(above, name).is_symlink()]
            paths += [Path(above, name) for name in (*links, *names)]
        return sorted(paths)

    def _pass_over_folder(self, error: OSError) -> None:
        reason = f"a folder that cannot be read: {error.strerror}"
        self._refuse_unreadable(Path(str(error.filename)), reason)

    def _refuse_unreadable(self, path: Path, reason: str) -> None:
        code = Absent.FORBIDDEN.value
        self.refused.append(Refused(str(path), reason, code, False))

    def _is_document(self, path: Path) -> bool:
        """Look into a file of a folder whose name does not say that it is one."""
        try:
            if is_unmistakable(sample_of(path)):
                return True
            self._refuse_unsupported(str(path), path.name)
        except OSError as error:
            self._refuse_unreadable(path, f"cannot be read: {error.strerror}")
        return False

    def _stored(self, uri: str) -> None:
        bucket, key = split_uri(uri)
        (found,) = self._objects.heads([uri]) if key else (None,)
        if isinstance(found, StoredObject) and not key.endswith("/"):
            if PurePosixPath(key).suffix.lower() in MANIFESTS:
                self._manifest(self._objects.read(bucket, key), uri, None)
            else:
                name = PurePosixPath(key).name
                self._add_objects([_Asked(found, name, self._options)])
            return
        prefix = f"{key.rstrip('/')}/" if key else ""
        num_seen = 0
        asked = []
        for item in self._objects.below(bucket, prefix):
            num_seen += 1
            name = item.key.removeprefix(prefix)
            if name and not name.endswith("/") and self._is_wanted(name):
                asked.append(
                    _Asked(item, name, self._options, _has_document_suffix(name))
                )
        self._add_objects(asked)
        if not num_seen:
            raise NotFoundError(
                f"there is nothing at {uri}", hint="a prefix ends where names differ"
            )

    def _is_wanted(self, name: str) -> bool:
        """Return whether to look at a file of a folder: not at hidden ones, which are
        counted, and not at results."""
        path = PurePosixPath(name)
        if is_result(path.name):
            return False
        hidden = (part.startswith(".") and part != ".." for part in path.parts)
        if any(hidden) and not self._with_hidden:
            self._num_hidden += 1
            return False
        return True

    def _refuse_unsupported(self, source: str, name: str) -> None:
        """Record a file or object as refused because of its type."""
        kind = PurePosixPath(name).suffix or "no suffix"
        self.refused.append(
            Refused(source, f"not a type we read: {kind}", UNSUPPORTED, False)
        )

    def _manifest(self, content: bytes, where: str, folder: Path | None) -> None:
        entries = entries_of(content, where, is_stored=folder is None)
        self.entries(
            [
                replace(each, options={**self._options, **each.options})
                for each in entries
            ],
            folder or Path(),
        )

    def entries(self, entries: Sequence[Entry], folder: Path) -> None:
        """Each stands alone; all that lie in S3 are asked for together."""
        stored = [each.source for each in entries if each.source.startswith(S3)]
        known = dict(zip(stored, self._objects.heads(stored), strict=True))
        there = [head for head in known.values() if isinstance(head, StoredObject)]
        samples = self._samples(there)
        for each in entries:
            source, options = each.source, each.options
            if source.startswith(S3):
                name = each.name or PurePosixPath(source).name
                found = known[source]
                if isinstance(found, Absent):
                    self._refuse(source, name, options, ABSENT[found], found.value)
                else:
                    self._add_object(_Asked(found, name, options), samples)
                continue
            path, name = folder / source, each.name or Path(source).name
            code, reason = Absent.NOT_FOUND.value, "there is no such file"
            try:
                if path.is_file():
                    self._file(path, name, options)
                    continue
            except OSError as error:
                # A name that is too long, or a folder that may not be entered.
                reason = f"cannot be read: {error.strerror}"
                if isinstance(error, PermissionError):
                    code = Absent.FORBIDDEN.value
            self._refuse(str(resolve_parent(path)), name, options, reason, code)

    def _file(self, path: Path, name: str, options: Mapping[str, Option]) -> None:
        path = resolve_parent(path)
        try:
            size = path.stat().st_size
            sample = sample_of(path)
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            self._refuse(str(path), name, options, reason, Absent.FORBIDDEN.value)
            return
        kind = type_by_bytes(sample, media_type_by_name(path))
        total = 1 if kind in ONE_PAGE else self._count(path)
        self._append(str(path), name, kind, size, content, options, total)

    def _add_objects(self, asked: Sequence[_Asked]) -> None:
        """Add objects as documents or refusals, with requests in parallel.

        A listing does not show that an archived object was restored; HEAD does.
        """
        doubtful = [each.item.uri for each in asked if each.item.archive is not None]
        heads = dict(zip(doubtful, self._objects.heads(doubtful), strict=True))
        current = []
        for each in asked:
            head = heads.get(each.item.uri)
            known = head if isinstance(head, StoredObject) else each.item
            current.append(replace(each, item=known))
        samples = self._samples([each.item for each in current])
        for each in current:
            self._add_object(each, samples)

    def _samples(self, items: Sequence[StoredObject]) -> Mapping[str, Sample | None]:
        """Return samples of the readable objects by URI."""
        readable = {
            item.uri: item for item in items if item.size and archived(item) is None
        }
        samples = self._objects.samples(list(readable.values()))
        return dict(zip(readable, samples, strict=True))

    def _add_object(self, asked: _Asked, samples: Mapping[str, Sample | None]) -> None:
        item, options, name = asked.item, asked.options, asked.name.lstrip("/")
        sample = samples.get(item.uri)
        if not asked.is_named and (sample is None or not is_unmistakable(sample)):
            self._refuse_unsupported(item.uri, name)
            return
        if not is_relative(name):
            reason = "its key does not make a file's name: name it in a manifest"
            self._refuse(item.uri, "", options, reason, "bad_request")
            return
        if why := archived(item):
            self._refuse(item.uri, name, options, why, Absent.FORBIDDEN.value)
            return
        by_name = media_type_by_name(PurePosixPath(item.key))
        kind = by_name if sample is None else type_by_bytes(sample, by_name)
        total = 1 if kind in ONE_PAGE else None
        self._append(
            item.uri, name, kind, item.size, item.content, options, total, item.modified
        )

    def _refuse(
        self,
        source: str,
        name: str,
        options: Mapping[str, Option],
        reason: str,
        code: str,
    ) -> None:
        name = with_pages(storable(name or PurePosixPath(source).name), options)
        self.refused.append(
            Refused(
                source, reason, code, name=name, options=options, accept=self._accept
            )
        )

    def _append(
        self,
        source: str,
        name: str,
        media_type: str | None,
        size: int,
        content: str,
        options: Mapping[str, Option],
        total: int | None,
        modified: datetime | None = None,
    ) -> None:
        if size == 0:
            self._refuse(source, name, options, EMPTY, UNREADABLE)
            return
        if media_type is None:
            self._refuse(source, name, options, NO_DOCUMENT, UNSUPPORTED)
            return
        pages = options.get("pages")
        chosen = None if pages is None else str(pages)
        self.documents.append(
            Document(
                name=with_pages(storable(name), options),
                source=source,
                media_type=media_type,
                size=size,
                content=content,
                options=options,
                accept=self._accept,
                num_pages=num_chosen(chosen, total),
                modified=modified,
            )
        )


def _has_document_suffix(name: str) -> bool:
    return media_type_by_name(PurePosixPath(name)) != UNKNOWN_TYPE


def resolve_parent(path: Path) -> Path:
    """Resolve links in the folders of a path, but not the file itself.

    The results of a symbolic link are written beside the link, not its target.
    """
    return path.parent.resolve() / path.name
