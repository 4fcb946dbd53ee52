"""Documents that files, folders, S3 objects and manifests name.

A manifest is JSON Lines, in a local file or in S3, with one object per document:
{"document": "s3://bucket/scan.pdf", "pages": "1-5", "name": "scan-1.pdf"}
`document` is an S3 object, or a path relative to the manifest. `name` is optional, and
every other member is an option of the service. Documents that cannot be read are
reported with their reason, and the others are still found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from deploy.documents.collector import Collector
from deploy.documents.document import (
    S3,
    AbsenceReason,
    Document,
    FoundDocuments,
    Objects,
    Refused,
    StoredObject,
    split_uri,
)
from deploy.documents.entries import ManifestEntry, parse_manifest
from deploy.documents.folders import FileFinder, resolve_parent
from deploy.documents.options import Option, check_options
from deploy.documents.rejection import ABSENT
from deploy.documents.stored_objects import NamedObject, ObjectFinder
from deploy.errors import NotFoundError

__all__ = ["MANIFESTS", "find_documents", "find_refused_again"]

MANIFESTS = (".jsonl", ".ndjson")


def find_documents(
    inputs: Sequence[str],
    objects: Objects,
    *,
    options: Mapping[str, Option] | None = None,
    accept: str = "application/json",
    count: Callable[[Path], int | None] = lambda path: None,
    with_hidden: bool = False,
) -> FoundDocuments:
    """Find the documents that `inputs` name, each once, in a stable order.

    `options` apply to all documents; a line of a manifest may override them. `count`
    returns how many pages a file has, or None. `with_hidden` includes files of folders
    whose name, or the name of a folder above them, begins with a dot. Raises
    NotFoundError if an input does not exist, and ConfigError if it or a line of a
    manifest is invalid.
    """
    collector = Collector(accept, with_hidden)
    finder = _Finder(collector, objects, count)
    checked = check_options(options or {})
    for text in inputs:
        num_before = collector.num_collected
        if text.startswith(S3):
            finder.add_uri(text, checked)
        else:
            finder.add_path(text, checked)
        if collector.num_collected == num_before:
            collector.empty.append(text)
    return collector.build_result()


def find_refused_again(
    refused: Sequence[Refused],
    objects: Objects,
    *,
    count: Callable[[Path], int | None] = lambda path: None,
) -> FoundDocuments:
    """Look again for documents that were refused before.

    A document or refusal in the result has the name that it had before. `count` returns
    how many pages a file has.
    """
    documents: list[Document] = []
    still_refused: list[Refused] = []
    for accept in {each.accept for each in refused}:
        collector = Collector(accept)
        with_accept = [each for each in refused if each.accept == accept]
        _Finder(collector, objects, count).add_entries(
            [
                ManifestEntry(each.source, None, dict(each.options))
                for each in with_accept
            ],
            Path(),
        )
        names = {each.place_id: each.name for each in with_accept}
        documents += [
            replace(d, name=names.get(d.place_id, d.name)) for d in collector.documents
        ]
        still_refused += [
            replace(r, name=names.get(r.place_id, r.name)) for r in collector.refused
        ]
    return FoundDocuments(tuple(documents), tuple(still_refused))


class _Finder:
    """Search that adds the documents of inputs and manifests to a collector."""

    def __init__(
        self,
        collector: Collector,
        objects: Objects,
        count: Callable[[Path], int | None],
    ) -> None:
        self._collector = collector
        self._objects = objects
        self._file_finder = FileFinder(collector, count)
        self._object_finder = ObjectFinder(collector, objects)

    def add_path(self, text: str, options: Mapping[str, Option]) -> None:
        """Add a file, the documents in a folder, or those of a manifest.

        Raises NotFoundError if the path does not exist or cannot be read.
        """
        path = Path(text)
        hint = "a path here, s3://bucket/prefix or a manifest"
        try:
            is_folder, is_file = path.is_dir(), path.is_file()
            is_manifest = is_file and path.suffix.lower() in MANIFESTS
            content = path.read_bytes() if is_manifest else b""
        except OSError as error:
            sentence = f"{text} cannot be read: {error.strerror}"
            raise NotFoundError(sentence, hint=hint) from error
        if is_folder:
            self._file_finder.add_folder(path, options)
        elif is_manifest:
            self._add_manifest(content, text, path.parent, options)
        elif is_file:
            self._file_finder.add_file(path, path.name, options)
        else:
            raise NotFoundError(f"there is no file or folder {text}", hint=hint)

    def add_uri(self, uri: str, options: Mapping[str, Option]) -> None:
        """Add an object of S3, the objects below a prefix, or those of a manifest."""
        bucket, key = split_uri(uri)
        (head,) = self._objects.head_objects([uri]) if key else (None,)
        if not isinstance(head, StoredObject) or key.endswith("/"):
            prefix = f"{key.rstrip('/')}/" if key else ""
            objects = list(self._objects.list_objects(bucket, prefix))
            self._object_finder.add_listed(uri, prefix, objects, options)
        elif PurePosixPath(key).suffix.lower() in MANIFESTS:
            content = self._objects.read(bucket, key)
            self._add_manifest(content, uri, None, options)
        else:
            name = PurePosixPath(key).name
            self._object_finder.add_objects([NamedObject(head, name, options)])

    def add_entries(self, entries: Sequence[ManifestEntry], folder: Path) -> None:
        """Add the documents of manifest lines, or refuse those that cannot be read.

        `folder` is that of relative paths. All objects of S3 are requested together.
        """
        uris = [entry.source for entry in entries if entry.source.startswith(S3)]
        heads = self._object_finder.head_objects(uris)
        present = [head for head in heads.values() if isinstance(head, StoredObject)]
        samples = self._object_finder.read_samples(present)
        for entry in entries:
            if not entry.source.startswith(S3):
                self._add_entry_of_file(entry, folder)
                continue
            name = entry.name or PurePosixPath(entry.source).name
            head = heads[entry.source]
            if isinstance(head, AbsenceReason):
                self._collector.refuse(
                    entry.source, name, entry.options, ABSENT[head], head.value
                )
            else:
                self._object_finder.add_object(
                    NamedObject(head, name, entry.options), samples
                )

    def _add_entry_of_file(self, entry: ManifestEntry, folder: Path) -> None:
        path, name = folder / entry.source, entry.name or Path(entry.source).name
        code, reason = AbsenceReason.NOT_FOUND.value, "there is no such file"
        try:
            if path.is_file():
                self._file_finder.add_file(path, name, entry.options)
                return
        except OSError as error:
            # The name may be too long, or a folder may not be entered.
            reason = f"cannot be read: {error.strerror}"
            if isinstance(error, PermissionError):
                code = AbsenceReason.FORBIDDEN.value
        source = str(resolve_parent(path))
        self._collector.refuse(source, name, entry.options, reason, code)

    def _add_manifest(
        self,
        content: bytes,
        location: str,
        folder: Path | None,
        options: Mapping[str, Option],
    ) -> None:
        """Add the documents of a manifest; `folder` is None if it lies in S3."""
        entries = parse_manifest(content, location, is_stored=folder is None)
        self.add_entries(
            [replace(each, options={**options, **each.options}) for each in entries],
            folder or Path(),
        )
