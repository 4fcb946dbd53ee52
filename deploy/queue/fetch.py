"""Results of a queue, written atomically beside their documents or into a folder.

Files that this program did not write, or that were changed since, are kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from deploy.concurrency import NUM_LARGE_TRANSFERS
from deploy.documents.document import S3, Objects, split_uri
from deploy.documents.naming import add_page_ranges, to_storable_name
from deploy.documents.targets import ENDINGS, assign_targets, to_portable_name
from deploy.errors import DeployError, NotFoundError
from deploy.queue.job import Job, Place, State
from deploy.queue.ledger import Ledger
from deploy.results.parse import convert_result, page_errors

__all__ = ["FetchOutcome", "FetchResult", "FetchRun", "FileStore", "ResultStore"]

# With these errors, no file of that name exists. Writing it reports the reason.
MISSING_ERRNOS = (errno.ENOENT, errno.ENAMETOOLONG, errno.ENOTDIR)


class ResultStore(Protocol):
    """Storage that results are written to: the file system, or S3."""

    def get_digest(self, target: str) -> str | None:
        """Return the sha256 of a target, or None if it does not exist.

        Any other text means that the digest is unknown.
        """
        ...

    def write(self, target: str, content: bytes, *, replacing: bool) -> bool:
        """Write a target atomically.

        Without `replacing`, write nothing and return False if the target exists.
        """
        ...

    def remove(self, target: str) -> None:
        """Delete a target if it exists."""
        ...


class FetchOutcome(StrEnum):
    """Outcome of fetching one result."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    """The document could not be read; the reason is in NAME.error.json."""
    WAITING = "waiting"
    NOT_OURS = "not ours"
    """The target exists, and this program did not write it."""
    GONE = "gone"
    """The document was read, but its result was deleted from S3."""
    NOT_CONVERTIBLE = "not in that format"
    NOT_WRITTEN = "not written"
    """The folder does not accept the file: name too long, no permission, no space."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """Outcome of fetching the result of one place of the ledger."""

    source: str
    target: str | None
    outcome: FetchOutcome
    detail: str | None = None
    code: str | None = None
    """Error code if the document could not be read."""
    missing: Mapping[int, str] = field(default_factory=dict)
    """Error codes of missing pages, by page number."""


class FetchRun:
    """Run that fetches the results of all places in a ledger."""

    def __init__(
        self,
        ledger: Ledger,
        objects: Objects,
        file_store: ResultStore,
        s3_store: ResultStore,
        *,
        format: str,
        into: str | None,
        force: bool,
        is_dry_run: bool = False,
        is_selected: Callable[[Place, Job | None], bool] = lambda place, job: True,
    ) -> None:
        """Prepare to fetch; `run` fetches.

        Results go into `into`, or beside their documents if it is None. With `force`,
        files that this program did not write are replaced too.

        `file_store` and `s3_store` write to the file system and to S3. `format` is md,
        html or json. `is_selected` tells for which places results are written; it does
        not change their names.
        """
        self._ledger = ledger
        self._objects = objects
        self._file_store = file_store
        self._s3_store = s3_store
        self._format = format
        self._into = into
        self._force = force
        self._is_dry_run = is_dry_run
        self._is_selected = is_selected
        self._bases: Mapping[str, str] = {}
        """Target of the result of each place without its suffix, by the place's id."""

    def run(self) -> Iterator[FetchResult]:
        """Fetch the results of the selected places, and yield the outcome of each.

        Several are fetched at once. In a dry run, nothing is written. A job whose
        result was deleted from S3 is recorded as failed, so that it can be retried.
        """
        jobs = {job.key: job for job in self._ledger.read_jobs()}
        places = sorted(self._ledger.read_places(), key=lambda place: place.source)
        self._bases = self._choose_targets(places, jobs)
        places = [p for p in places if self._is_selected(p, jobs.get(p.key))]
        with ThreadPoolExecutor(NUM_LARGE_TRANSFERS) as threads:
            yield from threads.map(
                lambda place: self._fetch_one(place, jobs.get(place.key)), places
            )

    def _fetch_one(self, place: Place, job: Job | None) -> FetchResult:
        try:
            return self._fetch_result(place, job)
        except OSError as error:
            target = f"{self._bases[place.id]}.{self._format}"
            return FetchResult(
                place.source, target, FetchOutcome.NOT_WRITTEN, error.strerror
            )

    def _fetch_result(self, place: Place, job: Job | None) -> FetchResult:
        base = self._bases[place.id]
        if job is None or not job.is_settled:
            return FetchResult(place.source, None, FetchOutcome.WAITING)
        if job.state is State.FAILED:
            error = {"code": job.code, "detail": job.detail, "attempt": job.attempt}
            content = _to_json_bytes({"document": place.source, **error})
            target = f"{base}.error.json"
            outcome = self._write_error(place, job, target, content)
            detail = f"{job.detail} ({job.code})"
            return FetchResult(place.source, target, outcome, detail, job.code)
        target = f"{base}.{self._format}"
        try:
            body = self._objects.read(*split_uri(job.output or ""))
            contents = {target: convert_result(body, job.accept, self._format)}
        except NotFoundError:
            if not self._is_dry_run:
                lost_job = replace(
                    job, state=State.FAILED, code="gone", detail=job.output
                )
                self._ledger.save(lost_job)
            return FetchResult(place.source, target, FetchOutcome.GONE, job.output)
        except DeployError as error:
            return FetchResult(
                place.source, target, FetchOutcome.NOT_CONVERTIBLE, error.message
            )
        errors = page_errors(body, job.accept)
        if errors:
            page_report = {"document": place.source, "pages": errors}
            contents[f"{base}.error.json"] = _to_json_bytes(page_report)
        missing = {error["page"]: error["code"] for error in errors}
        outcome = self._write_changed(place, contents)
        return FetchResult(place.source, target, outcome, missing=missing)

    def _write_error(
        self, place: Place, job: Job, target: str, content: bytes
    ) -> FetchOutcome:
        """Write the error of a document; return NOT_OURS or FAILED.

        A document that was refused before it was sent may lie where nothing can be
        written. This is not reported as another failure.
        """
        if job.was_refused and self._into is None:
            if not target.startswith(S3) and not Path(target).parent.is_dir():
                return FetchOutcome.FAILED
            try:
                outcome = self._write_changed(place, {target: content})
            except (DeployError, OSError):
                return FetchOutcome.FAILED
        else:
            outcome = self._write_changed(place, {target: content})
        return outcome if outcome == FetchOutcome.NOT_OURS else FetchOutcome.FAILED

    def _choose_targets(
        self, places: Sequence[Place], jobs: Mapping[str, Job]
    ) -> Mapping[str, str]:
        """Return the target of each place without its suffix, by the place's id.

        Documents that were submitted in different runs may have the same name, and one
        file may have been submitted with different options. The result that was written
        first keeps the name.
        """
        names = {p.id: self._choose_name(p, jobs.get(p.key)) for p in places}
        folder = "" if self._into is None else f"{self._into.rstrip('/')}/"
        kept = {
            place.id
            for place in places
            if any(
                f"{folder}{names[place.id]}.{ending}" in place.written
                for ending in ENDINGS
            )
        }
        targets = assign_targets(names, kept, is_tree=self._into is not None)
        return {identity: f"{folder}{name}" for identity, name in targets.items()}

    def _choose_name(self, place: Place, job: Job | None) -> str:
        if self._into is None:
            return add_page_ranges(place.source, {} if job is None else job.options)
        is_stored = self._into.startswith(S3)
        return to_portable_name(
            to_storable_name(place.name) if is_stored else place.name
        )

    def _write_changed(self, place: Place, contents: dict[str, bytes]) -> FetchOutcome:
        """Write changed contents of a place, and record their digests in the ledger.

        Files that this program did not write are kept, unless forced. Error files that
        no longer apply are removed. Returns NOT_OURS if a file was kept, else WRITTEN
        or UNCHANGED.
        """
        digests, outcomes = dict(place.written), set()
        for target, content in contents.items():
            store = self._select_store(target)
            digest = hashlib.sha256(content).hexdigest()
            existing_digest = store.get_digest(target)
            is_ours = existing_digest is not None and existing_digest == digests.get(
                target
            )
            if existing_digest == digest:
                outcomes.add(FetchOutcome.UNCHANGED)
            elif existing_digest is not None and not is_ours and not self._force:
                outcomes.add(FetchOutcome.NOT_OURS)
                continue
            elif self._is_dry_run or store.write(
                target, content, replacing=existing_digest is not None
            ):
                outcomes.add(FetchOutcome.WRITTEN)
            else:
                outcomes.add(FetchOutcome.NOT_OURS)
                continue
            digests[target] = digest
        self._remove_stale_errors(contents, digests)
        if digests != place.written and not self._is_dry_run:
            self._ledger.save_place(replace(place, written=digests))
        for outcome in (FetchOutcome.NOT_OURS, FetchOutcome.WRITTEN):
            if outcome in outcomes:
                return outcome
        return FetchOutcome.UNCHANGED

    def _select_store(self, target: str) -> ResultStore:
        return self._s3_store if target.startswith(S3) else self._file_store

    def _remove_stale_errors(
        self, contents: dict[str, bytes], digests: dict[str, str]
    ) -> None:
        """Remove error files that we wrote and that no longer apply.

        Their entries in `digests` are removed too. In a dry run, nothing is done.
        """
        for target in contents:
            stale = f"{target.rpartition('.')[0]}.error.json"
            if stale in contents or stale not in digests or self._is_dry_run:
                continue
            store = self._select_store(stale)
            if store.get_digest(stale) == digests.pop(stale):
                store.remove(stale)


class FileStore:
    """Results on the local file system."""

    def __init__(self) -> None:
        # The umask can only be read by setting it.
        mask = os.umask(0o022)
        os.umask(mask)
        self._mode = 0o666 & ~mask

    def get_digest(self, target: str) -> str | None:
        try:
            with Path(target).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return None if error.errno in MISSING_ERRNOS else "unreadable"

    def write(self, target: str, content: bytes, *, replacing: bool) -> bool:
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not replacing and (handle := _open_unnamed(path.parent)) is not None:
            return self._write_and_link(handle, path, content)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".chandra-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).chmod(self._mode)
            if replacing:
                Path(temporary).replace(path)
            else:
                # Unlike a replacement, a link fails if the file was created meanwhile.
                path.hardlink_to(temporary)
        except FileExistsError:
            return False
        finally:
            Path(temporary).unlink(missing_ok=True)
        return True

    def _write_and_link(self, handle: int, path: Path, content: bytes) -> bool:
        """Write an unnamed file, and name it when it is complete.

        Returns False if the name exists. A process that is killed earlier leaves no
        file behind.
        """
        descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(handle, self._mode)
                # With src_dir_fd, Python calls linkat, which follows symlinks.
                os.link(str(handle), path, src_dir_fd=descriptors)
        except FileExistsError:
            return False
        finally:
            os.close(descriptors)
        return True

    def remove(self, target: str) -> None:
        Path(target).unlink(missing_ok=True)


def _open_unnamed(folder: Path) -> int | None:
    """Open a file without a name in a folder; return None if this is not possible."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(folder, os.O_WRONLY | flag, 0o600)
    except OSError:
        return None


def _to_json_bytes(value: object) -> bytes:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # Names of files may hold bytes that are not UTF-8; write them as JSON escapes.
    return text.encode(errors="backslashreplace")
