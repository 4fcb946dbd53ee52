"""Select the documents of a ledger that `wait` and `fetch` act on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deploy.documents.document import S3, Objects, split_uri
from deploy.documents.entries import parse_manifest
from deploy.documents.finding import MANIFESTS
from deploy.documents.folders import resolve_parent
from deploy.documents.options import Option, canonical_options
from deploy.errors import NotFoundError
from deploy.queue.job import Job, Place
from deploy.queue.ledger import Ledger

__all__ = ["Selection", "select_places"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Places of a ledger that the inputs match, or all places without inputs."""

    inputs: Mapping[str, Callable[[Place, Job | None], bool]]
    """A function for each input that tells whether a place matches it."""

    def includes(self, place: Place, job: Job | None) -> bool:
        """Return whether an input matches a place, given the job that reads it.

        Without inputs, every place is included.
        """
        if not self.inputs:
            return True
        return any(matches(place, job) for matches in self.inputs.values())

    def select_jobs(self, ledger: Ledger) -> Iterator[Job]:
        """Return the jobs that read the selected places, each job once."""
        jobs = {job.key: job for job in ledger.read_jobs()}
        keys = {
            place.key
            for place in ledger.read_places()
            if self.includes(place, jobs.get(place.key))
        }
        return (job for job in jobs.values() if job.key in keys)


def select_places(ledger: Ledger, inputs: Sequence[str], objects: Objects) -> Selection:
    """Select the places of a ledger that match `inputs`, written as for `submit`.

    Inputs are matched against the ledger, because the documents themselves may have
    been deleted since. Raises NotFoundError for an input that matches no place.
    """
    selection = Selection(
        {
            text: _build_manifest_matcher(text, objects)
            if PurePosixPath(text).suffix.lower() in MANIFESTS
            else _build_path_matcher(text)
            for text in inputs
        }
    )
    if not inputs:
        return selection
    jobs = {job.key: job for job in ledger.read_jobs()}
    places = list(ledger.read_places())
    for text, matches in selection.inputs.items():
        if not any(matches(place, jobs.get(place.key)) for place in places):
            raise NotFoundError(
                f"nothing of {text} is in the ledger {ledger.name}",
                hint=f"chandra-sagemaker async submit {text}",
            )
    return selection


def _build_path_matcher(text: str) -> Callable[[Place, Job | None], bool]:
    """Return a function that tells whether a place is in a file, folder or prefix."""
    if text.startswith(S3):
        split_uri(text)
        source, folder = text, f"{text.rstrip('/')}/"
        return lambda place, job: (
            place.source == source or place.source.startswith(folder)
        )
    source, folder = str(resolve_parent(Path(text))), f"{Path(text).resolve()}/"
    return lambda place, job: place.source == source or place.source.startswith(folder)


def _build_manifest_matcher(
    manifest: str, objects: Objects
) -> Callable[[Place, Job | None], bool]:
    """Read a manifest; return a function that tells whether a place is in it."""
    is_stored = manifest.startswith(S3)
    if is_stored:
        content = objects.read(*split_uri(manifest))
    else:
        try:
            content = Path(manifest).read_bytes()
        except OSError as error:
            raise NotFoundError(
                f"the manifest {manifest} cannot be read: {error.strerror}",
                hint="chandra-sagemaker async wait, which waits for all documents",
            ) from error
    lines: dict[str, list[Mapping[str, Option]]] = {}
    for entry in parse_manifest(content, manifest, is_stored=is_stored):
        source = entry.source
        if not source.startswith(S3):
            source = str(resolve_parent(Path(manifest).parent / source))
        lines.setdefault(source, []).append(entry.options)

    def matches(place: Place, job: Job | None) -> bool:
        """Match a job that has at least the line's options; flags may add more."""
        # Earlier versions stored options without normalising them.
        job_options = {} if job is None else canonical_options(job.options)
        return any(
            options.items() <= job_options.items()
            for options in lines.get(place.source, ())
        )

    return matches
