"""Submission of documents to a queue, each once, even if it is interrupted.

Every request is recorded in the ledger before it is sent. The result of an attempt has
a fixed address, made of the job's key and attempt. If a process ends during a request,
the next one looks there, and otherwise sends the same request again. A kill may cost a
second reading of a document in flight, but never a second result.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from deploy.concurrency import NUM_SUBMISSIONS
from deploy.config import AsynchronousTable
from deploy.documents.document import S3, Document, FoundDocuments, Refused
from deploy.documents.options import MAX_HEADER, format_attributes
from deploy.errors import DeployError, Interrupted
from deploy.queue.endpoint import build_output_extension
from deploy.queue.job import (
    Job,
    Place,
    State,
    current_owner,
    is_owner_gone,
    new_run_name,
)
from deploy.queue.ledger import Ledger
from deploy.retries import Backoff, retry

__all__ = ["Retry", "Sender", "Submission", "SubmissionResult", "build_request"]

BACKOFF = Backoff(num_retries=7, first_seconds=1.0, longest_seconds=60.0, jitter=0.5)
# A request takes seconds and all its attempts minutes. After this time its process
# counts as gone.
LEASE_SECONDS = 900.0
# The container downloads larger documents itself if it may: TorchServe would hold the
# body in memory.
MAX_BODY_BYTES = 100 * 1024 * 1024
MAX_INLINE_BYTES = 128_000
ACCEPTED = (State.SENDING, State.SUBMITTED, State.DONE)


class Retry(Enum):
    """Failed documents to send again."""

    NONE = "none"
    TRANSIENT = "transient"
    """Documents with a transient error, in all or some of their pages."""
    ALL = "all"
    """Also documents with a permanent error."""


class Sender(Protocol):
    """Connection to AWS that a submission uses."""

    def upload(self, job: Job) -> str:
        """Upload a local document for the endpoint; return its s3://bucket/key."""
        ...

    def find_outcome(self, job: Job) -> tuple[str, str] | None:
        """Return the addresses of result and failure, or None if neither exists."""
        ...

    def send(self, request: Mapping[str, Any]) -> tuple[str, str]:
        """Submit a request; return the addresses of its result and failure.

        Raises TransientError if the same request may be sent again.
        """
        ...


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """Result of a submission."""

    num_sent: int
    num_known: int
    """Documents that were read or are in the queue already."""
    num_failed: int
    """Documents that failed earlier with a transient error and were not retried."""
    num_elsewhere: int
    """Documents that another process is sending."""
    unsent: Mapping[str, str]
    """Reasons why documents were not sent, by source."""
    given_up: tuple[Job, ...] = ()
    """Documents that failed earlier with a permanent error and were not retried."""


class Submission:
    """Run that submits documents to the queue of one endpoint."""

    def __init__(
        self,
        ledger: Ledger,
        sender: Sender,
        table: AsynchronousTable,
        *,
        reads_itself: bool,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        owner: str | None = None,
    ) -> None:
        self._ledger = ledger
        self._sender = sender
        self._table = table
        self._reads_itself = reads_itself
        self._clock = clock
        self._sleep = sleep
        self._on_progress = on_progress
        self._owner = owner or current_owner()
        self._stopping = threading.Event()
        self._run = new_run_name(clock())

    def run(
        self, inputs: FoundDocuments, jobs: Sequence[Job] = (), *, retry: Retry
    ) -> SubmissionResult:
        """Record the documents of `inputs` in the ledger, and send them and `jobs`.

        Refused documents are recorded as failed. Raises the error that stopped the
        submission. Documents sent until then are in the ledger.
        """
        by_key = {document.key: document for document in inputs.documents}
        refused = [refusal for refusal in inputs.refused if refusal.is_named]
        with ThreadPoolExecutor(NUM_SUBMISSIONS) as threads:
            list(threads.map(self._record_refused, refused))
            list(threads.map(self._record_place, inputs.documents))
            recorded = list(threads.map(self._record_job, by_key.values()))
        return self.send([*jobs, *recorded], retry=retry)

    def send(self, jobs: Sequence[Job], *, retry: Retry) -> SubmissionResult:
        """Send the jobs that are due, and count the outcomes of all.

        Files that cannot be read and invalid requests are reported as unsent. Raises
        Interrupted on Ctrl-C, and DeployError if AWS rejects a request.
        """
        outcomes: Counter[str] = Counter()
        unsent: dict[str, str] = {}
        to_send = []
        given_up = []
        for job in jobs:
            reason = self._find_reason_to_skip(job, retry)
            if reason == "given up":
                given_up.append(job)
            elif reason is None:
                to_send.append(job.next_attempt() if job.is_settled else job)
            else:
                outcomes[reason] += 1
        with ThreadPoolExecutor(NUM_SUBMISSIONS) as threads:
            futures = {threads.submit(self._send_one, job): job for job in to_send}
            try:
                for number, future in enumerate(as_completed(futures), start=1):
                    try:
                        outcomes[future.result()] += 1
                    except (OSError, ValueError) as error:
                        unsent[futures[future].source] = str(error)
                    self._on_progress(number, len(to_send))
            except KeyboardInterrupt:
                self._stopping.set()
                raise Interrupted(
                    f"{outcomes['sent']} documents are in the queue and will be read. "
                    "The same command again sends the others"
                ) from None
            except BaseException:
                self._stopping.set()
                raise
        return SubmissionResult(
            outcomes["sent"],
            outcomes["known"],
            outcomes["failed"],
            outcomes["elsewhere"],
            unsent,
            tuple(given_up),
        )

    def _record_place(self, document: Document | Refused) -> None:
        """Record in the ledger which job reads the document of a place."""
        existing = self._ledger.find_place(document.place_id)
        place = Place(document.place_id, document.name, document.source, document.key)
        if existing is not None:
            place = replace(place, written=existing.written)
        if place != existing:
            self._ledger.save_place(place)

    def _record_refused(self, refused: Refused) -> None:
        """Record a refused document as failed, so that its place has an outcome."""
        place = self._ledger.find_place(refused.place_id)
        earlier_job = None if place is None else self._ledger.find_job(place.key)
        if (
            refused.is_absent
            and earlier_job is not None
            and earlier_job.state in ACCEPTED
        ):
            # The document existed earlier and has been read.
            return
        job = Job.from_refused(refused, self._run, self._clock())
        existing = self._ledger.find_job(refused.key)
        if existing is None or (existing.code, existing.detail) != (
            job.code,
            job.detail,
        ):
            stamp = None if existing is None else existing.stamp
            self._ledger.save(replace(job, stamp=stamp))
        self._record_place(refused)

    def _record_job(self, document: Document) -> Job:
        """Return the job of a document from the ledger, adding it if it is new."""
        existing = self._ledger.find_job(document.key)
        if existing is not None:
            # The first file may be gone; this one has the same bytes. Its type may
            # differ, because earlier versions took the type from the name.
            return replace(
                existing, source=document.source, media_type=document.media_type
            )
        saved = self._ledger.save(Job.from_document(document, self._run, self._clock()))
        return saved or self._read_existing(document.key)

    def _read_existing(self, key: str) -> Job:
        job = self._ledger.find_job(key)
        assert job is not None, f"{key} has disappeared from the ledger"
        return job

    def _find_reason_to_skip(self, job: Job, retry: Retry) -> str | None:
        """Return the reason why a job is not sent; None if it has to be sent."""
        if retry is not Retry.NONE and job.is_retryable:
            return None
        if job.has_failed_permanently:
            return None if retry is Retry.ALL else "given up"
        if job.state in (State.SUBMITTED, State.DONE):
            return "known"
        if job.state is State.FAILED:
            return "failed"
        if job.state is State.SENDING and not self._may_take_over(job):
            return "elsewhere"
        return None

    def _may_take_over(self, job: Job) -> bool:
        """Return whether the process that was sending a job no longer does."""
        is_old = self._clock() - job.since > LEASE_SECONDS
        return job.owner == self._owner or is_owner_gone(job.owner) or is_old

    def _send_one(self, job: Job) -> str:
        """Send one job, and record its state in the ledger before and after.

        Returns `sent`, `stopped`, or `elsewhere` if another process has taken the job.
        Raises OSError if the file changed, ValueError for an invalid request, and
        DeployError.
        """
        if self._stopping.is_set():
            return "stopped"
        may_have_been_sent = job.state is State.SENDING
        stored_uri = job.source if job.source.startswith(S3) else None
        uri = stored_uri or self._sender.upload(job)
        try:
            request = build_request(
                job, uri, self._table, reads_itself=self._reads_itself
            )
        except ValueError as error:
            self._ledger.save(
                replace(
                    job,
                    state=State.FAILED,
                    code="bad_request",
                    detail=str(error),
                    since=self._clock(),
                )
            )
            raise
        claimed = self._ledger.save(
            replace(job, state=State.SENDING, owner=self._owner, since=self._clock())
        )
        if claimed is None:
            return "elsewhere"
        addresses = self._sender.find_outcome(claimed) if may_have_been_sent else None
        if addresses is None:
            try:
                # A request may have arrived although its connection was lost. It is
                # sent again, because its answer has the same place.
                addresses = retry(
                    lambda: self._sender.send(request),
                    BACKOFF,
                    sleep=self._sleep,
                    is_cancelled=self._stopping.is_set,
                )
            except DeployError:
                self._stopping.set()
                self._ledger.save(replace(claimed, state=State.NEW, owner=None))
                raise
        output, failure = addresses
        self._ledger.save(
            replace(
                claimed,
                state=State.SUBMITTED,
                owner=None,
                since=self._clock(),
                output=output,
                failure=failure,
            )
        )
        return "sent"


def build_request(
    job: Job, uri: str, table: AsynchronousTable, *, reads_itself: bool
) -> dict[str, Any]:
    """Return the parameters of InvokeEndpointAsync, without the endpoint.

    With `reads_itself`, the container downloads documents with options and large ones
    from S3. SageMaker passes it all others. Raises ValueError for a document whose
    address or options do not fit into the request.
    """
    request: dict[str, Any] = {
        "Accept": job.accept,
        "InferenceId": job.inference_id,
        "S3OutputPathExtension": build_output_extension(job.run, job.attempt),
        "Filename": job.key,
        "InvocationTimeoutSeconds": table.timeout_seconds,
        "RequestTTLSeconds": table.wait_seconds,
    }
    is_stored = job.source.startswith(S3)
    # The address is sent in a header, which loses blanks at its ends.
    is_plain = uri.isascii() and uri.isprintable() and uri == uri.strip()
    is_plain = is_plain and len(uri) <= MAX_HEADER
    attributes = format_attributes(dict(sorted(job.options.items())))
    has_room = len(attributes) <= MAX_HEADER
    is_odd = not is_plain or not has_room or job.size > MAX_BODY_BYTES
    if reads_itself and (is_odd or (is_stored and job.options)):
        # ASCII escapes would count sixfold towards the service's limit for an option.
        members = {"s3_uri": uri, **job.options}
        body = json.dumps(members, ensure_ascii=False).encode()
        if len(body) <= MAX_INLINE_BYTES:
            return request | {"Body": body, "ContentType": "application/json"}
    if not is_plain:
        raise ValueError(
            "SageMaker does not accept this key: rename it, or set network.isolation = "
            "false and deploy again, so that the container reads it"
        )
    if not has_room:
        raise ValueError(
            f"its options have {len(attributes):,} characters, and SageMaker accepts "
            f"{MAX_HEADER:,}: fewer pages, a shorter prompt, or network.isolation = "
            "false and deploy again, so that they are sent in the request body"
        )
    request |= {"InputLocation": uri, "ContentType": job.media_type}
    return request | ({"CustomAttributes": attributes} if attributes else {})
