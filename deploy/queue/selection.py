"""Select the documents of a ledger that `wait` and `fetch` act on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deploy.documents.document import S3, Objects, split_uri
from deploy.documents.entries import entries_of
from deploy.documents.finding import MANIFESTS
from deploy.documents.folders import resolve_parent
from deploy.documents.options import Option, canonical_options
from deploy.errors import NotFoundError
from deploy.queue.job import Job, Place
from deploy.queue.ledger import Ledger, requested_jobs

__all__ = ["Selection", "select_places"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The places of a ledger that the inputs match; all places without inputs."""

    inputs: Mapping[str, Callable[[Place, Job | None], bool]]
    """A function for each input that tells whether a place matches it."""

    def has(self, place: Place, job: Job | None) -> bool:
        """Return whether the selection has a place, given the job that reads it."""
        if not self.inputs:
            return True
        return any(names(place, job) for names in self.inputs.values())

    def jobs(self, ledger: Ledger) -> Iterator[Job]:
        """Yield the jobs that read the selected places, each job once."""
        if not self.inputs:
            yield from requested_jobs(ledger)
            return
        jobs = {job.key: job for job in ledger.jobs()}
        places = (p for p in ledger.places() if self.has(p, jobs.get(p.key)))
        yield from {p.key: jobs[p.key] for p in places if p.key in jobs}.values()


def select_places(ledger: Ledger, inputs: Sequence[str], objects: Objects) -> Selection:
    """Select the places of a ledger that match `inputs`, written as for `submit`.

    Inputs are matched against the ledger, because the documents themselves may have
    been deleted since. Raises NotFoundError for an input that matches no place.
    """
    selection = Selection({each: _matcher_for(each, objects) for each in inputs})
    if not inputs:
        return selection
    jobs = {job.key: job for job in ledger.jobs()}
    places = list(ledger.places())
    for each, names in selection.inputs.items():
        if not any(names(place, jobs.get(place.key)) for place in places):
            raise NotFoundError(
                f"nothing of {each} is in the ledger {ledger.name}",
                hint=f"chandra-sagemaker async submit {each}",
            )
    return selection


def _matcher_for(each: str, objects: Objects) -> Callable[[Place, Job | None], bool]:
    if PurePosixPath(each).suffix.lower() in MANIFESTS:
        return _manifest_matcher(each, objects)
    if each.startswith(S3):
        split_uri(each)
        exact, below = each, f"{each.rstrip('/')}/"
        return lambda place, job: (
            place.source == exact or place.source.startswith(below)
        )
    exact, below = str(resolve_parent(Path(each))), f"{Path(each).resolve()}/"
    return lambda place, job: place.source == exact or place.source.startswith(below)


def _manifest_matcher(
    each: str, objects: Objects
) -> Callable[[Place, Job | None], bool]:
    is_stored = each.startswith(S3)
    if is_stored:
        content = objects.read(*split_uri(each))
    else:
        try:
            content = Path(each).read_bytes()
        except OSError as error:
            raise NotFoundError(
                f"the manifest {each} cannot be read: {error.strerror}",
                hint="chandra-sagemaker async wait, which waits for all documents",
            ) from error
    lines: dict[str, list[Mapping[str, Option]]] = {}
    for entry in entries_of(content, each, is_stored=is_stored):
        source = entry.source
        if not source.startswith(S3):
            source = str(resolve_parent(Path(each).parent / source))
        lines.setdefault(source, []).append(entry.options)

    def names(place: Place, job: Job | None) -> bool:
        """Match a job that has at least the line's options; flags may add more."""
        # Earlier versions stored options without normalising them.
        given = {} if job is None else canonical_options(job.options)
        return any(
            options.items() <= given.items() for options in lines.get(place.source, ())
        )

    return names
