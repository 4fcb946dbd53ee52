"""Reader of documents: sends pages to the engine and yields their results.

Each request has a thread that runs the reader. The thread mostly waits, because pages
are decoded and converted in pools of processes, and generated in engine processes.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Protocol

from handler import postprocess, preprocess
from handler.engine import EngineInfo, EngineOutput, EngineRequest
from handler.errors import (
    DeadlineExceededError,
    EngineError,
    HandlerError,
    UnreadableDocumentError,
)
from handler.http.request import Content, OCRRequest
from handler.processes.pool import CallContext, Pool
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.reading.collect import StripCollector, blank_output
from handler.reading.decode import Decoder
from handler.reading.fetch import Fetcher
from handler.reading.open_document import OpenDocument, build_decode_options
from handler.reading.write import PageWriter, max_inline_bytes
from handler.schema import Page, PageError, PageResult, Status
from handler.settings import HandlerSettings
from handler.storage.addresses import Address, Buckets
from handler.storage.s3 import Stop
from handler.storage.spool import Spool

__all__ = ["Engines", "Reader"]


@dataclass(frozen=True, slots=True)
class _Task:
    """Page or strip of a page that is to be decoded and sent to the engine."""

    page_number: int
    collector: StripCollector | None = None
    """Collector of the page to which the strip belongs; None for a page, which is not
    decoded yet."""
    index: int = 0
    """Index of the strip within its page."""


# Tasks in the engine: the future maps to the engine's id of the task, the collector of
# the page and the index of the strip.
_Running = dict[Future[EngineOutput], tuple[str, StripCollector, int]]

CANCEL_CHECK_SECONDS = 0.25
"""Interval at which the reader checks whether the client has disconnected."""


class Engines(Protocol):
    """Interface of the engine processes, as far as the reader uses it."""

    @property
    def info(self) -> EngineInfo: ...
    @property
    def max_pages_in_flight(self) -> int: ...
    def submit(self, request: EngineRequest) -> Future[EngineOutput]: ...
    def cancel(self, engine_request_id: str) -> None: ...


class Reader:
    """Opens documents and yields the results of their pages. Thread-safe."""

    def __init__(
        self,
        settings: HandlerSettings,
        engines: Engines,
        decoders: Pool,
        writers: Pool,
        clock: Callable[[], float] = time.monotonic,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._decoder = Decoder(decoders, settings.decode_seconds, clock)
        self._clock = clock
        self._counter = itertools.count()
        self._stops_at: float | None = None
        self._profile = PROFILES[engines.info.profile]
        self._prompts = load_prompts(self._profile)
        self._sizing = replace(self._profile.sizing, max_side=settings.max_side)
        self._limits = preprocess.Limits(
            max_pages=settings.max_pages, max_pixels=settings.max_pixels
        )
        self._fetcher = fetcher or Fetcher(
            Buckets(settings.document_buckets), settings.max_s3_document_bytes
        )
        self._writer = PageWriter(
            writers,
            settings.decode_seconds,
            self._profile.bbox_format,
            self._decoder,
            self._sizing,
            self._limits,
            max_inline_bytes(settings.max_reply_bytes),
        )

    def open(
        self,
        request_id: str,
        request: OCRRequest,
        received_at: float,
        is_cancelled: Callable[[], bool],
        document_key: str | None = None,
    ) -> OpenDocument:
        """Open the document of a request and count its pages, without decoding a page.

        The content is copied to a temporary file; a document in S3 is downloaded to it.
        The caller closes the returned document. `received_at` is a time on the reader's
        clock at which the deadline starts to run. `document_key` identifies the
        content; with it, the decoders recognise a document that took too long before.
        The default is the id of the request. Raises a HandlerError: RequestError for a
        request or a document that cannot be read, DeadlineExceededError if the deadline
        passes first, EngineError if the client has disconnected or the server stops,
        OverloadedError without a free decoder, and StorageError if S3 fails.
        """
        reply_type = postprocess.choose_media_type(request.accept)
        document_key = document_key or request_id
        seconds = request.options.deadline_seconds or self._settings.deadline_seconds
        deadline = None if seconds is None else received_at + seconds
        if reason := self._find_stop_reason(deadline, is_cancelled):
            raise reason
        spool = self._fetch_or_spool(
            request.document, lambda: self._find_stop_reason(deadline, is_cancelled)
        )
        try:
            info = self._decoder.run(
                CallContext(document_key, request_id),
                self._earliest_deadline(deadline),
                preprocess.inspect_document,
                spool.read_only,
                request.media_type,
                self._limits,
                build_decode_options(request.options),
            )
            numbers = preprocess.parse_page_ranges(
                request.options.pages, info.num_pages, self._limits.max_pages
            )
        except BaseException:
            spool.close()
            raise
        return OpenDocument(
            request_id=request_id,
            document_key=document_key,
            spool=spool,
            info=info,
            page_numbers=numbers,
            options=request.options,
            deadline=deadline,
            label=request.label,
            reply_type=reply_type,
            is_cancelled=is_cancelled,
        )

    def stop_reading_at(self, stop_at: float) -> None:
        """Stop reading all documents at `stop_at`, a time on the reader's clock.

        Pages that are not read by then fail, and no document can be opened after it.
        """
        self._stops_at = stop_at

    def read_pages(self, document: OpenDocument) -> Iterator[PageResult]:
        """Yield the result of every requested page, in the order in which they finish.

        A task is a page or a strip of a page. `tasks` holds the tasks that are waiting,
        and `running` those that the engine is working on. The loop repeats two steps:

        1. While the engine has room for this document, decode the next task and submit
           it. One task more than the engine holds is submitted, so that the engine
           never waits for the decoder.
        2. Otherwise wait briefly for outputs of the engine, and yield the pages that
           they complete.

        The number of running tasks is limited, so that the pixels of a long document
        do not fill the memory and other documents get their share. The loop stops early
        if the client disconnects, the deadline passes, the server stops or the engine
        fails. The pages that are left are then yielded as failures, with the text of
        the strips that were read. Tasks still running at the end are cancelled.
        """
        tasks = deque(_Task(number) for number in document.page_numbers)
        running: _Running = {}
        reason: HandlerError | None = None
        try:
            while tasks or running:
                if reason := reason or self._find_stop_reason(
                    document.deadline, document.is_cancelled
                ):
                    break
                if tasks and len(running) <= self._engines.max_pages_in_flight:
                    # Submit before converting results, so that the engine stays busy.
                    result = self._start_task(document, tasks, running)
                    if result is not None:
                        yield result
                    continue
                for result in self._collect_outputs(
                    document, running, self._wait_seconds(document)
                ):
                    if result.error and result.error.code == EngineError.code:
                        reason = EngineError(result.error.detail)
                    yield result
            if reason:
                yield from self._collect_outputs(document, running, 0.0)
                yield from self._fail_remaining(document, tasks, running, reason)
        finally:
            for engine_request_id, _, _ in running.values():
                self._engines.cancel(engine_request_id)

    def _start_task(
        self, document: OpenDocument, tasks: deque[_Task], running: _Running
    ) -> PageResult | None:
        """Decode the first waiting task and submit it to the engine.

        Returns the result of the page if it is finished without the engine, because it
        is blank or could not be decoded. A page in strips is replaced by one task for
        each strip.
        """
        task = tasks.popleft()
        try:
            page = self._decode(document, task)
        except HandlerError as error:
            if task.collector is None:
                return _failed_page(task.page_number, error)
            task.collector.fail(task.index, error)
            return self._build_result_if_complete(document, task.collector)
        if page.is_blank and task.collector is None:
            return self._writer.build_blank_result(page)
        if page.is_blank and task.collector is not None:
            task.collector.outputs[task.index] = blank_output()
            return self._build_result_if_complete(document, task.collector)
        if page.strips:
            collector = StripCollector(page)
            tasks.extendleft(
                _Task(page.number, collector, index)
                for index in reversed(range(len(page.strips)))
            )
            return None
        engine_request = self._build_engine_request(document, page)
        collector = task.collector or StripCollector(replace(page, pixels=b""))
        running[self._engines.submit(engine_request)] = (
            engine_request.id,
            collector,
            task.index,
        )
        return None

    def _collect_outputs(
        self, document: OpenDocument, running: _Running, seconds: float
    ) -> Iterator[PageResult]:
        """Wait up to `seconds` for outputs; yield the pages that they complete.

        Removes the finished tasks from `running`.
        """
        done, _ = wait(running, seconds, FIRST_COMPLETED)
        for future in done:
            _, collector, index = running.pop(future)
            collector.outputs[index] = future.result()
            if result := self._build_result_if_complete(document, collector):
                yield result

    def _build_result_if_complete(
        self, document: OpenDocument, collector: StripCollector
    ) -> PageResult | None:
        """Return the result of the page if all of its strips are finished."""
        return (
            self._writer.build_result(document, collector)
            if collector.is_complete
            else None
        )

    def _fail_remaining(
        self,
        document: OpenDocument,
        tasks: deque[_Task],
        running: _Running,
        reason: HandlerError,
    ) -> Iterator[PageResult]:
        """Yield the unfinished pages in their order, with `reason` as their error.

        A page of which some strips were read is a partial success with their text.
        """
        collectors = [collector for _, collector, _ in running.values()]
        collectors += [task.collector for task in tasks if task.collector is not None]
        pages = {collector.page.number: collector for collector in collectors}
        numbers = {task.page_number for task in tasks} | pages.keys()
        for number in sorted(numbers):
            if (collector := pages.get(number)) is None or not collector.outputs:
                yield _failed_page(number, reason)
            else:
                collector.fail_missing(reason)
                yield self._writer.build_result(document, collector)

    def _fetch_or_spool(self, document: Content | Address, should_stop: Stop) -> Spool:
        if isinstance(document, Address):
            return self._fetcher.fetch(document, should_stop)
        return Spool(document)

    def _find_stop_reason(
        self, deadline: float | None, is_cancelled: Callable[[], bool]
    ) -> HandlerError | None:
        """Return the error with which to stop reading now, or None to continue."""
        if is_cancelled():
            return EngineError("the client has disconnected")
        if deadline is not None and self._clock() >= deadline:
            return DeadlineExceededError(
                "the deadline passed before this page was read"
            )
        if self._stops_at is not None and self._clock() >= self._stops_at:
            return EngineError("the server stopped before this page was read")
        return None

    def _earliest_deadline(self, deadline: float | None) -> float | None:
        """Return the earlier of the document's deadline and the server's stop time.

        Returns None if there is neither.
        """
        times = [at for at in (deadline, self._stops_at) if at is not None]
        return min(times, default=None)

    def _wait_seconds(self, document: OpenDocument) -> float:
        """Return the time until the next check for a reason to stop, at least 0."""
        if (deadline := self._earliest_deadline(document.deadline)) is None:
            return CANCEL_CHECK_SECONDS
        return max(0.0, min(CANCEL_CHECK_SECONDS, deadline - self._clock()))

    def _decode(self, document: OpenDocument, task: _Task) -> Page:
        """Decode a page, or a strip of a page, in a decoder process.

        Raises HandlerError if it cannot be decoded, or if the result is inconsistent.
        """
        number = task.page_number
        decode: Callable[..., Page] = preprocess.decode_page
        location: tuple[int] | tuple[Page, int] = (number,)
        if task.collector is not None:
            decode = preprocess.decode_strip
            location = (task.collector.page, task.index)
        page = self._decoder.run(
            document.call_context(number),
            self._earliest_deadline(document.deadline),
            decode,
            document.spool.read_only,
            document.info.media_type,
            *location,
            self._sizing,
            self._limits,
            document.decode_options,
        )
        # All requests share the engine, so check what a confined decoder returned.
        is_strip_of_strip = task.collector is not None and bool(page.strips)
        if page.number != number or not page.is_consistent or is_strip_of_strip:
            raise UnreadableDocumentError(
                f"the decoder returned no valid page {number}"
            )
        return page

    def _build_engine_request(
        self, document: OpenDocument, page: Page
    ) -> EngineRequest:
        limits = (
            document.options.max_output_tokens,
            self._settings.max_output_tokens,
            self._profile.max_output_tokens,
        )
        options = document.options
        return EngineRequest(
            # The counter makes the id unique: TorchServe may send a cancelled request
            # again under the same id.
            id=f"{document.request_id}/{page.number}/{next(self._counter)}",
            request_id=document.request_id,
            page=page,
            prompt=options.prompt or self._prompts[options.prompt_type],
            max_output_tokens=min(limit for limit in limits if limit is not None),
            temperature=options.temperature,
            max_attempts=options.max_attempts,
        )


def _failed_page(number: int, error: HandlerError) -> PageResult:
    return PageResult(
        page=number, status=Status.FAILURE, error=PageError(error.code, error.detail)
    )
