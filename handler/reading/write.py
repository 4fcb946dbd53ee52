"""Conversion of the model's output into the results of pages."""

from __future__ import annotations

import base64
import logging
import math
import secrets
from collections.abc import Callable
from dataclasses import replace

from handler import postprocess, preprocess
from handler.engine import EngineOutput
from handler.errors import HandlerError, OverloadedError
from handler.processes.pool import (
    CallContext,
    CallCrashedError,
    CallKilledError,
    CallStalledError,
    CallTimeoutError,
    Pool,
    PoolBusyError,
)
from handler.profiles import BboxFormat, Sizing
from handler.reading.collect import StripCollector, merge_outputs
from handler.reading.decode import Decoder
from handler.reading.open_document import OpenDocument
from handler.schema import (
    Page,
    PageContent,
    PageError,
    PageResult,
    PageWarning,
    Status,
)

__all__ = ["PageWriter", "max_inline_bytes"]

logger = logging.getLogger(__name__)

MAX_INLINE_BYTES = 8 * 1024 * 1024
"""Limit for the data URLs of one document."""
_SHARE_INLINE = 5
"""Data URLs may take a fifth of the reply. JSON contains a picture four times: in
`images`, `html` and `markdown` of the page, and in `markdown` of the document. The
remaining fifth is for everything else."""


def max_inline_bytes(max_reply_bytes: int) -> int:
    """Return the limit for the data URLs of a document in a reply of that size."""
    return min(MAX_INLINE_BYTES, max_reply_bytes // _SHARE_INLINE)


class PageWriter:
    """Makes the PageResult of a page from the engine's output.

    HTML and Markdown are made in the processes of `pool`; `decoder` cuts out figures.
    `max_seconds` limits each conversion, and `max_inline_bytes` the data URLs of a
    document.
    """

    def __init__(
        self,
        pool: Pool,
        max_seconds: float,
        bbox_format: BboxFormat,
        decoder: Decoder,
        sizing: Sizing,
        limits: preprocess.Limits,
        max_inline_bytes: int,
    ) -> None:
        self._pool = pool
        self._max_seconds = max_seconds
        self._bbox_format = bbox_format
        self._decoder = decoder
        self._sizing = sizing
        self._limits = limits
        self._max_inline_bytes = max_inline_bytes

    def build_result(
        self, document: OpenDocument, collector: StripCollector
    ) -> PageResult:
        """Convert the outputs for a page and return its result; never raise.

        If some strips failed, the result has the text of the others and an error. If
        all failed or the conversion fails, the result is a failure with an error.
        """
        page, output = collector.page, merge_outputs(collector.ordered_outputs)
        error = collector.error
        result = PageResult(
            page=page.number,
            status=Status.FAILURE,
            width=page.width,
            height=page.height,
            rotation=page.rotation,
            attempts=output.num_attempts,
            queue_seconds=output.queue_seconds,
            page_seconds=output.page_seconds,
            error=error,
        )
        if all(part.error is not None for part in collector.ordered_outputs):
            return result
        try:
            content, images = self._convert_with_images(document, collector, output)
        except HandlerError as failure:
            return replace(result, error=PageError(failure.code, failure.detail))
        except Exception:
            # A bug that affects one page must not cost the results of the others.
            logger.exception("page failed", extra={"page": page.number})
            bug = HandlerError()
            return replace(result, error=PageError(bug.code, bug.detail))
        return replace(
            result,
            status=Status.SUCCESS if error is None else Status.PARTIAL_SUCCESS,
            content=content,
            images=images,
            raw=output.text,
            finish_reason=str(output.finish_reason),
            output_tokens=output.num_output_tokens,
            forwards=output.num_forwards,
            drafted_tokens=output.num_drafted_tokens,
            accepted_tokens=output.num_accepted_tokens,
        )

    def build_blank_result(self, page: Page) -> PageResult:
        """Return the result of a page without ink, which is not sent to the model."""
        return PageResult(
            page=page.number,
            status=Status.SUCCESS,
            width=page.width,
            height=page.height,
            content=PageContent(warnings=page.warnings),
        )

    def _convert_with_images(
        self, document: OpenDocument, collector: StripCollector, output: EngineOutput
    ) -> tuple[PageContent, dict[str, str]]:
        """Return the content of a page, and its pictures as base64 by their name.

        If the pictures cannot be cut out, the content has a warning instead.
        """
        page = collector.page
        warnings = [*page.warnings, *collector.warnings]
        options = document.options
        # A random number, so that no text of a document matches the name of a picture.
        number = secrets.randbits(62) if options.inline_images else None
        content = self._convert(document, collector, output, options.has_images, number)
        try:
            images = self._cut_out_figures(document, page, content)
        except Exception as error:
            if not isinstance(error, HandlerError):
                logger.exception("figures not cut out", extra={"page": page.number})
            # Return the text without pictures and without references to them.
            content = self._convert(document, collector, output, include_images=False)
            images = {}
            warnings.append(
                PageWarning("images_missing", "the figures could not be cut out")
            )
        if number is not None and content.figures:
            content = self._inline_images(document, page, content, images, number)
        return replace(content, warnings=(*content.warnings, *warnings)), images

    def _inline_images(
        self,
        document: OpenDocument,
        page: Page,
        content: PageContent,
        images: dict[str, str],
        number: int,
    ) -> PageContent:
        """Return the content with pictures as data URLs, up to the document's limit.

        Adds their size to `document.inlined_bytes`. If pictures had to be left out, the
        content has a warning.
        """
        illustrated = postprocess.illustrate(
            content,
            images,
            markdown_number=number,
            max_bytes=self._max_inline_bytes - document.inlined_bytes,
        )
        document.inlined_bytes += illustrated.num_bytes
        content, num_left_out = illustrated.content, illustrated.num_left_out
        if not num_left_out:
            return content
        warning = PageWarning(
            "images_not_inlined",
            f"{num_left_out} of {len(images)} pictures are not in Markdown and HTML, "
            f"because a document may have {self._max_inline_bytes:,} bytes of them; "
            "ask for fewer pages, or for JSON with include_images",
        )
        return replace(content, warnings=(*content.warnings, warning))

    def _convert(
        self,
        document: OpenDocument,
        collector: StripCollector,
        output: EngineOutput,
        include_images: bool,
        markdown_number: int | None = None,
    ) -> PageContent:
        """Convert the model's output to HTML and Markdown in a writer process.

        Raises HandlerError if that fails; OverloadedError if a later attempt may
        succeed.
        """
        page, options = collector.page, document.options
        geometry = postprocess.PageGeometry(
            page.number, page.width, page.height, self._bbox_format, page.rotation
        )
        conversion = postprocess.ConversionOptions(
            postprocess.CUSTOM if options.prompt else options.prompt_type,
            include_images=include_images,
            include_headers_footers=options.include_headers_footers,
            html_tables=options.tables == "html",
            markdown_number=markdown_number,
        )
        convert: Callable[..., PageContent] = postprocess.convert_page
        answer: str | tuple[postprocess.StripAnswer, ...] = output.text
        if page.strips:
            convert = postprocess.convert_strips
            answer = tuple(
                postprocess.StripAnswer(strip, part.text)
                for strip, part in zip(
                    page.strips, collector.ordered_outputs, strict=True
                )
                if part.error is None
            )
        try:
            return self._pool.call_restartable(
                CallContext(request_id=document.request_id, page=page.number),
                math.inf,
                self._max_seconds,
                convert,
                answer,
                geometry,
                conversion,
            )
        except PoolBusyError as error:
            raise OverloadedError("all writers are busy with other pages") from error
        except (CallKilledError, CallStalledError) as error:
            raise OverloadedError(
                "the writer process was killed or stopped twice, for example because "
                "memory is short; try again"
            ) from error
        except (CallTimeoutError, CallCrashedError) as error:
            logger.exception("conversion failed", extra={"page": page.number})
            raise HandlerError("the model's answer could not be converted") from error

    def _cut_out_figures(
        self, document: OpenDocument, page: Page, content: PageContent
    ) -> dict[str, str]:
        """Cut out the figures in a decoder process.

        Returns base64 of WebP by the figures' names in the content. Raises HandlerError
        if they cannot be cut out.
        """
        if not content.figures:
            return {}
        crops = self._decoder.run(
            document.call_context(page.number),
            document.deadline,
            preprocess.crop_images,
            document.spool.read_only,
            document.info.media_type,
            page.number,
            self._sizing,
            self._limits,
            content.figures,
            document.decode_options,
            page.rotation,
        )
        return {name: base64.b64encode(crop).decode() for name, crop in crops.items()}
