"""Documents among the objects of S3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from deploy.documents.collector import (
    ONE_PAGE,
    Candidate,
    Collector,
    has_document_suffix,
)
from deploy.documents.document import (
    AbsenceReason,
    Objects,
    StoredObject,
    media_type_by_name,
)
from deploy.documents.entries import is_relative
from deploy.documents.options import Option
from deploy.documents.rejection import explain_archive_state
from deploy.documents.signatures import Sample, choose_media_type, is_unmistakable
from deploy.errors import NotFoundError

__all__ = ["NamedObject", "ObjectFinder"]


@dataclass(frozen=True, slots=True)
class NamedObject:
    """S3 object that the inputs name, with the name and options of its document."""

    item: StoredObject
    name: str
    options: Mapping[str, Option]
    is_named: bool = True
    """True if an input names the object, or its suffix is that of a document."""


class ObjectFinder:
    """Search that adds objects of S3 to a collector."""

    def __init__(self, collector: Collector, objects: Objects) -> None:
        self._collector = collector
        self._objects = objects

    def add_listed(
        self,
        uri: str,
        prefix: str,
        listed: Sequence[StoredObject],
        options: Mapping[str, Option],
    ) -> None:
        """Add every document among the objects that are listed below a prefix.

        Raises NotFoundError if no object is listed.
        """
        if not listed:
            raise NotFoundError(
                f"there is nothing at {uri}",
                hint="a prefix must match whole folder names",
            )
        objects = []
        for item in listed:
            name = item.key.removeprefix(prefix)
            if name and not name.endswith("/") and self._collector.accepts_name(name):
                objects.append(
                    NamedObject(item, name, options, has_document_suffix(name))
                )
        self.add_objects(objects)

    def add_objects(self, objects: Sequence[NamedObject]) -> None:
        """Add objects as documents or refusals, after reading a sample of each.

        A listing does not show that an archived object was restored; HEAD does.
        """
        archived_uris = [
            named.item.uri for named in objects if named.item.archive is not None
        ]
        heads = dict(
            zip(archived_uris, self._objects.head_objects(archived_uris), strict=True)
        )
        current = []
        for named in objects:
            head = heads.get(named.item.uri)
            item = head if isinstance(head, StoredObject) else named.item
            current.append(replace(named, item=item))
        samples = self.read_samples([named.item for named in current])
        for named in current:
            self.add_object(named, samples)

    def head_objects(
        self, uris: Sequence[str]
    ) -> Mapping[str, StoredObject | AbsenceReason]:
        """Return the objects by URI, or why they cannot be read."""
        return dict(zip(uris, self._objects.head_objects(uris), strict=True))

    def read_samples(
        self, items: Sequence[StoredObject]
    ) -> Mapping[str, Sample | None]:
        """Read samples of objects that are not empty or archived; return them by URI.

        The sample of an object that may not be read is None.
        """
        readable = {
            item.uri: item
            for item in items
            if item.size and explain_archive_state(item) is None
        }
        samples = self._objects.read_samples(list(readable.values()))
        return dict(zip(readable, samples, strict=True))

    def add_object(
        self, named: NamedObject, samples: Mapping[str, Sample | None]
    ) -> None:
        """Add one object as a document or a refusal, given the samples of all."""
        item, options, name = named.item, named.options, named.name.lstrip("/")
        sample = samples.get(item.uri)
        if not named.is_named and (sample is None or not is_unmistakable(sample)):
            self._collector.refuse_unsupported(item.uri, name)
            return
        if not is_relative(name):
            reason = "its key is not a valid file name: name it in a manifest"
            self._collector.refuse(item.uri, "", options, reason, "bad_request")
            return
        if why := explain_archive_state(item):
            code = AbsenceReason.FORBIDDEN.value
            self._collector.refuse(item.uri, name, options, why, code)
            return
        by_name = media_type_by_name(PurePosixPath(item.key))
        kind = by_name if sample is None else choose_media_type(sample, by_name)
        self._collector.add(
            Candidate(
                item.uri,
                name,
                kind,
                item.size,
                item.content_key,
                options,
                1 if kind in ONE_PAGE else None,
                item.modified,
            )
        )
