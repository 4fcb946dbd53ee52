"""TorchServe's entry point: the handler class.

TorchServe requires that this file defines exactly one class and no function named
`handle`.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ts.metrics.metric_type_enum import MetricTypes
from ts.torch_handler.base_handler import BaseHandler

from handler import postprocess
from handler.engine import EngineProcesses, Health
from handler.errors import (
    DocumentTooLargeError,
    HandlerError,
    ModelLoadError,
    error_with_code,
)
from handler.http.reply import Reply, problem_reply
from handler.http.request import CUSTOM_ATTRIBUTES, format_attributes, parse_request
from handler.logs import log_to_stdout
from handler.reading.open_document import OpenDocument
from handler.reading.reader import Reader
from handler.schema import DocumentResult, ModelInfo, PageContent, PageResult, Status
from handler.settings import read_settings
from handler.storage.addresses import Address
from handler.worker.beacon import Beacon
from handler.worker.emf import EmbeddedMetrics
from handler.worker.metrics import WorkerMetrics
from handler.worker.open_request import OpenRequest, RequestSummary
from handler.worker.parent import exit_with_parent
from handler.worker.pools import start_pools
from handler.worker.pump import Pump

# Not __name__: in the archive this file is a module called service.
logger = logging.getLogger("handler.service")

NDJSON = "application/x-ndjson"
STUCK = "stuck"
"""State of the worker while TorchServe takes no replies from it."""
DRAIN_SECONDS = 10.0
"""Time for answering the open requests once no engine is left."""


class ChandraHandler(BaseHandler):
    """TorchServe handler that reads many documents concurrently.

    `handle` runs the pump, which calls `read` in a thread for each request. `read`
    has the three stages of a TorchServe handler, and they overlap: `preprocess` opens
    a document and counts its pages; `inference` returns an iterator that decodes pages,
    runs the model and converts its output, a few pages at a time; `postprocess` makes
    the reply from that iterator, or streams it page by page.
    """

    def initialize(self, context: Any) -> None:
        """Start the engine's processes, the pools and the pump, and wait for the model.

        Also sends the log to standard output, and starts threads that publish the
        worker's state and end the worker when TorchServe has ended or no engine is
        left. Logs and raises ModelLoadError, whose detail says what to change.
        """
        log_to_stdout()
        exit_with_parent()
        # TorchServe calls `handle` ten times a second and logs a line each time.
        for stream in logging.getLogger().handlers:
            stream.addFilter(
                lambda line: not line.getMessage().startswith("Backend received")
            )
        started = time.monotonic()
        try:
            table = (context.model_yaml_config or {}).get("handler") or {}
            self.settings, engine_settings = read_settings(table, os.environ)
            self.engines = EngineProcesses(engine_settings)
            self._start_beacon()
            info = self.engines.start()
        except ModelLoadError as error:
            logger.error("model not loaded", extra={"reason": error.detail})
            raise
        self.model = ModelInfo(info.model_id, info.revision, info.engine)
        self.decoders, self.writers = start_pools(self.settings)
        self.reader = Reader(self.settings, self.engines, self.decoders, self.writers)
        self.metrics = WorkerMetrics(
            lambda kind, name: context.metrics.get_metric(name, MetricTypes(kind)),
            context.model_name,
            lambda: len(self.engines.fallbacks),
        )
        self.metrics.record_fallbacks()
        self.embedded_metrics: EmbeddedMetrics | None = None
        if self.settings.metrics_emf:
            self.embedded_metrics = EmbeddedMetrics(
                info.model_id,
                lambda: self.engines.device_bytes,
                lambda: len(self.engines.fallbacks),
            )
        self.pump = Pump(
            self.read,
            max_open_requests=self.settings.max_open_requests,
            max_reply_bytes=self.settings.max_reply_bytes,
            wait_seconds=self.settings.wait_seconds,
            report=self._report,
            description=json.dumps(
                {
                    "model_id": info.model_id,
                    "revision": info.revision,
                    "engine": info.engine,
                }
            ).encode(),
        )
        threading.Thread(target=self._exit_when_failed, daemon=True).start()
        self.initialized = True
        logger.info(
            "ready",
            extra={
                "model_id": info.model_id,
                "revision": info.revision,
                "profile": info.profile,
                "engine": info.engine,
                "device": info.device,
                "attention": info.attention,
                "cuda_graphs": info.cuda_graphs,
                "fallbacks": self.engines.fallbacks,
                "weights": "trained" if info.is_trained else "random",
                "seconds": round(time.monotonic() - started, 3),
            },
        )

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Submit new requests, wait briefly, and answer the finished ones.

        TorchServe calls this method again with every request that has no answer yet.
        The returned list has one entry for each request, which is empty if the request
        has no answer yet.
        """
        return self.pump.serve_call(data, context)

    def read(self, request: OpenRequest) -> Reply:
        """Run the three stages for one request and return its reply.

        Runs in a thread of the pump, and closes the document at the end. Raises
        HandlerError for a request that fails; the pump makes a problem reply of it.
        """
        document = self.preprocess(request)
        try:
            return self.postprocess(request, document, self.inference(document))
        finally:
            document.close()

    def preprocess(self, request: OpenRequest) -> OpenDocument:
        """Parse the request and open its document, which the caller closes.

        Decodes no page yet. Releases the request's body and sets its summary. Raises a
        HandlerError as `Reader.open` does, such as RequestError for a request or a
        document that cannot be read.
        """
        ocr_request = parse_request(
            request.row,
            request.headers,
            max_document_bytes=self.settings.max_document_bytes,
        )
        request.release_row(ocr_request.document)
        attributes = format_attributes(label=ocr_request.label, request_id=request.id)
        summary = RequestSummary(
            document_digest=ocr_request.digest,
            stream_headers={CUSTOM_ATTRIBUTES: attributes},
        )
        request.set_summary(summary)
        is_in_s3 = isinstance(ocr_request.document, Address)
        document = self.reader.open(
            request.id,
            ocr_request,
            request.received_at,
            lambda: request.is_cancelled,
            # An object in S3 may be replaced, so its address does not identify it.
            None if is_in_s3 else ocr_request.digest,
        )
        if is_in_s3:
            request.set_summary(replace(summary, fetched_bytes=document.spool.size))
        return document

    def inference(self, document: OpenDocument) -> Iterator[PageResult]:
        """Yield the results of the document's pages in the order in which they finish.

        Each page is decoded, read by the model and converted to HTML and Markdown,
        while other pages are in other stages.
        """
        return self.reader.read_pages(document)

    def postprocess(
        self,
        request: OpenRequest,
        document: OpenDocument,
        pages: Iterator[PageResult],
    ) -> Reply:
        """Read all pages, and return the reply in the media type the request accepts.

        With NDJSON, pages are sent through `request.stream` as they finish, unless
        `stream_replies` is off, and the reply has only the last line. If every page
        fails, the reply is the problem that a client can most likely retry. Raises
        DocumentTooLargeError if the pictures alone exceed `max_reply_bytes`.
        """
        reply_type = document.reply_type
        is_stream = reply_type == NDJSON and self.settings.stream_replies
        results: list[PageResult] = []
        num_sent = num_bytes = 0
        has_success = False
        for page in pages:
            result = replace(
                page, queue_seconds=request.queue_seconds + page.queue_seconds
            )
            has_success = has_success or result.status is not Status.FAILURE
            results.append(result)
            if is_stream and has_success:
                # Nothing is sent before the first success, because the reply is an
                # error if every page fails.
                for line in results[num_sent:]:
                    request.stream(postprocess.page_line(line, request.id))
                # Release the contents of pages that have been sent.
                results[num_sent:] = map(_without_content, results[num_sent:])
                num_sent = len(results)
            elif (num_bytes := num_bytes + _picture_bytes(result)) > (
                self.settings.max_reply_bytes
            ):
                # Fail early, because the pictures of a thousand pages would fill the
                # memory before the size of the reply is known.
                advice = "ask for fewer pages or without images"
                if self.settings.stream_replies:
                    advice = f"ask for fewer pages, without images, or for {NDJSON}"
                raise DocumentTooLargeError(
                    f"the pictures of {len(results)} pages already exceed the limit of "
                    f"{self.settings.max_reply_bytes:,} bytes for a reply: {advice}"
                )
        answer = DocumentResult(
            request_id=request.id,
            model=self.model,
            pages=tuple(sorted(results, key=lambda result: result.page)),
            processing_time=time.monotonic() - request.received_at,
            num_pages=document.info.num_pages,
            warnings=document.info.warnings,
            is_paginated=document.options.paginate,
        )
        if not has_success:
            return problem_reply(
                _most_retryable_error(answer), request.id, answer.pages
            )
        if is_stream:
            body = postprocess.end_line(answer)
        else:
            body = postprocess.render(answer, reply_type)
        status = str(answer.status)
        headers = {
            "X-Chandra-Status": status,
            # The only custom header that SageMaker passes on to the client.
            CUSTOM_ATTRIBUTES: format_attributes(
                label=document.label, request_id=request.id, status=status
            ),
        }
        return Reply(200, reply_type, body, headers, answer.pages)

    def _start_beacon(self) -> None:
        if self.settings.state_dir is not None:
            folder = Path(self.settings.state_dir)
            Beacon(folder, self.describe_worker, self.drain, self.disconnect).start()

    def describe_worker(self) -> dict[str, object]:
        """Return the state of the worker, for /ping and for the supervisor."""
        health = self.engines.health
        # An engine is ready a moment before the handler is initialised.
        state: str = health
        if health is Health.READY:
            if not self.initialized:
                state = Health.STARTING
            elif self.pump.is_stuck:
                state = STUCK
        return {
            "state": state,
            "worker": os.getpid(),
            "engines": " ".join(map(str, self.engines.pids)),
            "slots": self.engines.max_pages_in_flight if self.initialized else 0,
            "fallbacks": " ".join(self.engines.fallbacks),
            "drains": "yes" if self.initialized and self.pump.is_refusing else "no",
            "open": self.pump.num_open if self.initialized else 0,
        }

    def drain(self, stop_at: float) -> None:
        """Refuse new requests; answer open ones by `stop_at` with finished pages.

        `stop_at` is a time on the monotonic clock. Does nothing before `initialize` has
        finished.
        """
        if self.initialized:
            self.pump.refuse(
                "the server is about to stop: try again on another server",
                accepts_queued=True,
            )
            self.reader.stop_reading_at(stop_at)

    def disconnect(self, request_ids: Collection[str]) -> None:
        """Cancel the open requests with these ids, whose clients have disconnected.

        Does nothing before `initialize` has finished.
        """
        if self.initialized:
            self.pump.disconnect(request_ids)

    def _exit_when_failed(self) -> None:
        """Wait until no engine is left, answer the open requests, and end the worker.

        TorchServe restarts a worker that has ended, but not one that answers errors.
        """
        self.engines.wait_until_failed()
        self.pump.drain(DRAIN_SECONDS, "the worker is about to be replaced")
        # TorchServe sends the last answers after our call has returned.
        time.sleep(0.5)
        logger.critical("no engine left: the worker ends")
        os._exit(1)

    def _report(self, request: OpenRequest, reply: Reply) -> None:
        """Record the metrics of an answered request, and log it and its retries."""
        seconds = time.monotonic() - request.received_at
        self.metrics.record(reply.pages, reply.code, seconds)
        if self.embedded_metrics is not None:
            self.embedded_metrics.record(reply.pages, reply.code, seconds)
        for page in reply.pages:
            if page.attempts > 1:
                logger.info(
                    "retry",
                    extra={
                        "request_id": request.id,
                        "page": page.page,
                        "attempts": page.attempts,
                    },
                )
        logger.info(
            "request",
            extra={
                "request_id": request.id,
                "status": reply.status,
                "code": reply.code,
                "document": request.summary.document_digest,
                "media_type": reply.media_type,
                "received_bytes": request.num_bytes,
                "fetched_bytes": request.summary.fetched_bytes,
                "sent_bytes": len(reply.body),
                "pages": len(reply.pages),
                "failed_pages": {
                    page.page: page.error.code
                    for page in reply.pages
                    if page.error is not None
                },
                "output_tokens": sum(page.output_tokens for page in reply.pages),
                "queue_seconds": round(
                    max(
                        (page.queue_seconds for page in reply.pages),
                        default=request.queue_seconds,
                    ),
                    3,
                ),
                "seconds": round(seconds, 3),
            },
        )


def _without_content(result: PageResult) -> PageResult:
    return replace(result, content=PageContent(), images={}, raw="")


def _picture_bytes(result: PageResult) -> int:
    """Return the size of a page's pictures, the only part that may be large."""
    return sum(map(len, result.images.values()))


def _most_retryable_error(document: DocumentResult) -> HandlerError:
    """Return the error with the highest status among those of the pages.

    Callers retry 5xx errors. Without a failed page, return an internal error.
    """
    errors = [
        error_with_code(page.error.code, page.error.detail)
        for page in document.pages
        if page.error is not None
    ]
    return max(errors, key=lambda error: error.status, default=HandlerError())
