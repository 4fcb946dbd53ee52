"""Files, folders, objects in S3 and manifests, made into a list of documents.

A manifest is JSON Lines, here or in S3, one object a document:
{"document": "s3://bucket/scan.pdf", "pages": "1-5", "name": "scan-1.pdf"}
`document` is an object, or a file beside the manifest; `name` may be left out, and
everything else is an option of the service. What cannot be read is reported with its
reason, and everything else goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from deploy.documents.document import (
    MEDIA_TYPES,
    S3,
    UNKNOWN_TYPE,
    Absent,
    Document,
    Found,
    Objects,
    Option,
    Refused,
    StoredObject,
    checked_options,
    media_type_of,
    num_chosen,
    split_uri,
)
from deploy.errors import ConfigError, NotFoundError

__all__ = ["MANIFESTS", "find_documents"]

MANIFESTS = (".jsonl", ".ndjson")
LINE_HINT = 'a line is like {"document": "s3://bucket/scan.pdf", "pages": "1-5"}'
# Results of ours that lie beside their documents: a.pdf.md, a.pdf.error.json.
RESULTS = (".error.json", ".md", ".html", ".json", ".out")
UNREADABLE = "unreadable_document"
UNSUPPORTED = "unsupported_media_type"
ABSENT = {
    Absent.NOT_FOUND: "there is no such object",
    Absent.FORBIDDEN: "these credentials may not read it, or it is not there",
}
ONE_PAGE = ("image/png", "image/jpeg", "image/bmp")


def find_documents(
    inputs: Sequence[str],
    objects: Objects,
    *,
    options: Mapping[str, Option] | None = None,
    accept: str = "application/json",
    count: Callable[[Path], int | None] = lambda path: None,
) -> Found:
    """Whatever `inputs` name, each document once, in a stable order.

    `options` are for all; a line of a manifest may say otherwise. `count` says how many
    pages a file has. Raises NotFoundError where an input does not exist, ConfigError
    where it or a line of a manifest makes no sense.
    """
    finder = _Finder(objects, checked_options(options or {}, "--pages"), accept, count)
    for each in inputs:
        finder.add(each)
    unique = {document.place: document for document in finder.documents}
    return Found(_named_apart(list(unique.values())), tuple(finder.refused))


class _Finder:
    def __init__(
        self,
        objects: Objects,
        options: Mapping[str, Option],
        accept: str,
        count: Callable[[Path], int | None],
    ) -> None:
        self.documents: list[Document] = []
        self.refused: list[Refused] = []
        self._objects = objects
        self._options = options
        self._accept = accept
        self._count = count

    def add(self, each: str) -> None:
        if each.startswith(S3):
            self._stored(each)
        elif Path(each).is_dir():
            self._folder(Path(each))
        elif not Path(each).is_file():
            raise NotFoundError(
                f"there is no file or folder {each}",
                hint="a path here, s3://bucket/prefix or a manifest",
            )
        elif Path(each).suffix.lower() in MANIFESTS:
            self._manifest(Path(each).read_bytes(), each, Path(each).parent)
        else:
            self._file(Path(each), Path(each).name, self._options)

    def _folder(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and self._is_wanted(name, str(path)):
                self._file(path, name, self._options)

    def _stored(self, uri: str) -> None:
        bucket, key = split_uri(uri)
        (found,) = self._objects.heads([uri]) if key else (None,)
        if isinstance(found, StoredObject) and not key.endswith("/"):
            if PurePosixPath(key).suffix.lower() in MANIFESTS:
                self._manifest(self._objects.read(bucket, key), uri, None)
            else:
                self._object(found, PurePosixPath(key).name, self._options)
            return
        prefix = f"{key.rstrip('/')}/" if key else ""
        num_seen = 0
        for item in self._objects.below(bucket, prefix):
            num_seen += 1
            name = item.key.removeprefix(prefix)
            if name and not name.endswith("/") and self._is_wanted(name, item.uri):
                self._object(item, name, self._options)
        if not num_seen:
            raise NotFoundError(
                f"there is nothing at {uri}", hint="a prefix ends where names differ"
            )

    def _is_wanted(self, name: str, source: str) -> bool:
        """In a folder only what we read by its name; the rest is said to be left."""
        path = PurePosixPath(name)
        hidden = (part.startswith(".") and part != ".." for part in path.parts)
        if any(hidden) or _is_result(path.name):
            return False
        if media_type_of(path) != UNKNOWN_TYPE:
            return True
        kind = path.suffix or "no suffix"
        self.refused.append(
            Refused(source, f"not a type we read: {kind}", UNSUPPORTED, False)
        )
        return False

    def _manifest(self, content: bytes, where: str, folder: Path | None) -> None:
        entries = [
            _entry(line, f"{where} line {number}")
            for number, line in enumerate(content.splitlines(), start=1)
            if line.strip()
        ]
        stored = [source for source, *_ in entries if source.startswith(S3)]
        known = dict(zip(stored, self._objects.heads(stored), strict=True))
        for source, name, own in entries:
            options = {**self._options, **own}
            if source.startswith(S3):
                found = known[source]
                if isinstance(found, Absent):
                    self.refused.append(Refused(source, ABSENT[found], found.value))
                else:
                    self._object(found, name or PurePosixPath(source).name, options)
            elif folder is None:
                raise ConfigError(
                    f"{where}: a manifest in S3 names documents in S3, not {source}",
                    hint=LINE_HINT,
                )
            elif (folder / source).is_file():
                self._file(folder / source, name or Path(source).name, options)
            else:
                reason = "there is no such file"
                self.refused.append(Refused(source, reason, Absent.NOT_FOUND.value))

    def _file(self, path: Path, name: str, options: Mapping[str, Option]) -> None:
        # The folder's real path and the file's own name: results of a link lie beside
        # the link.
        path = path.parent.resolve() / path.name
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            self.refused.append(Refused(str(path), reason, Absent.FORBIDDEN.value))
            return
        kind = media_type_of(path)
        total = 1 if kind in ONE_PAGE else self._count(path)
        self._append(str(path), name, kind, size, content, options, total)

    def _object(
        self, item: StoredObject, name: str, options: Mapping[str, Option]
    ) -> None:
        name = name.lstrip("/")
        if not _is_relative(name):
            reason = "its key does not make a file's name: name it in a manifest"
            self.refused.append(Refused(item.uri, reason, "bad_request"))
            return
        kind = media_type_of(PurePosixPath(item.key))
        # With the URI: two objects of one ETag may differ where somebody wants them to.
        content = f"{item.uri} {item.etag} {item.size}"
        total = 1 if kind in ONE_PAGE else None
        self._append(item.uri, name, kind, item.size, content, options, total)

    def _append(
        self,
        source: str,
        name: str,
        media_type: str,
        size: int,
        content: str,
        options: Mapping[str, Option],
        total: int | None,
    ) -> None:
        if size == 0:
            self.refused.append(Refused(source, "it is empty", UNREADABLE))
            return
        pages = options.get("pages")
        chosen = None if pages is None else str(pages)
        self.documents.append(
            Document(
                name=_with_pages(name, chosen),
                source=source,
                media_type=media_type,
                size=size,
                content=content,
                options=options,
                accept=self._accept,
                num_pages=num_chosen(chosen, total),
            )
        )


def _entry(line: bytes, where: str) -> tuple[str, str | None, dict[str, Option]]:
    """A line's document, the name it asks for, and its options."""
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where} is not JSON: {error}", hint=LINE_HINT) from error
    if not isinstance(entry, dict) or not isinstance(entry.get("document"), str):
        raise ConfigError(
            f"{where} must be an object that names a document", hint=LINE_HINT
        )
    source, name = entry.pop("document"), entry.pop("name", None)
    if source.startswith(S3):
        split_uri(source)
    if name is not None and not _is_relative(name):
        raise ConfigError(
            f"{where}: name must be a relative path, not {name!r}",
            hint="the result is put there, below the folder of results",
        )
    return source, name, checked_options(entry, where)


def _is_relative(name: object) -> bool:
    if not isinstance(name, str) or not name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.name)


def _is_result(name: str) -> bool:
    return any(
        PurePosixPath(name.removesuffix(end)).suffix.lower() in MEDIA_TYPES
        for end in RESULTS
        if name.endswith(end)
    )


def _with_pages(name: str, pages: str | None) -> str:
    """a.pages-1-5.pdf: parts of one document do not write over each other."""
    return name if pages is None else _inserted(name, f".pages-{pages}")


def _inserted(name: str, text: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}{text}{path.suffix}"))


def _named_apart(documents: Sequence[Document]) -> tuple[Document, ...]:
    """Two of one name get the beginning of their place into it."""
    names = Counter(document.name for document in documents)
    return tuple(
        document
        if names[document.name] == 1
        else replace(document, name=_inserted(document.name, f"~{document.place[:8]}"))
        for document in documents
    )
