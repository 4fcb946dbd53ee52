"""From the model's words about a page to that page of the answer."""

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
from handler.reading.collect import Parts, merge_outputs
from handler.reading.decode import Decoding
from handler.reading.open_document import OpenDocument
from handler.schema import (
    Page,
    PageContent,
    PageError,
    PageResult,
    PageWarning,
    Status,
)

__all__ = ["Writing", "max_inline_bytes"]

logger = logging.getLogger(__name__)

MAX_INLINE_BYTES = 8 * 1024 * 1024
"""Limit for the data URLs of one document."""
_SHARE_INLINE = 5
"""JSON has a picture four times: in `images`, `html` and `markdown` of the page, and in
`markdown` of the document. The fifth part is for everything else."""


def max_inline_bytes(max_reply_bytes: int) -> int:
    """Return the limit for the data URLs of a document in an answer of that size."""
    return min(MAX_INLINE_BYTES, max_reply_bytes // _SHARE_INLINE)


class Writing:
    """Converts in the writers' pool, and cuts figures out in the decoders'."""

    def __init__(
        self,
        pool: Pool,
        max_seconds: float,
        bbox_format: BboxFormat,
        decoding: Decoding,
        sizing: Sizing,
        limits: preprocess.Limits,
        max_inline_bytes: int,
    ) -> None:
        self._pool = pool
        self._max_seconds = max_seconds
        self._bbox_format = bbox_format
        self._decoding = decoding
        self._sizing = sizing
        self._limits = limits
        self._max_inline_bytes = max_inline_bytes

    def result(self, document: OpenDocument, parts: Parts) -> PageResult:
        """Return the page of the answer; an error of its own where there is none.

        A page of which some strips failed has the text of the others, and an error.
        """
        page, output = parts.page, merge_outputs(parts.in_order)
        error = parts.error
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
        if all(part.error is not None for part in parts.in_order):
            return result
        try:
            content, images = self._content_and_images(document, parts, output)
        except HandlerError as failure:
            return replace(result, error=PageError(failure.code, failure.detail))
        except Exception:  # a bug, and the page's: the others are worth having
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

    def blank(self, page: Page) -> PageResult:
        """Return the answer for a page without ink, which the model never saw."""
        return PageResult(
            page=page.number,
            status=Status.SUCCESS,
            width=page.width,
            height=page.height,
            content=PageContent(warnings=page.warnings),
        )

    def _content_and_images(
        self, document: OpenDocument, parts: Parts, output: EngineOutput
    ) -> tuple[PageContent, dict[str, str]]:
        page = parts.page
        warnings = [*page.warnings, *parts.warnings]
        options = document.options
        # Random, so that no text of a document is taken for the name of a picture.
        number = secrets.randbits(62) if options.inline_images else None
        content = self._content(document, parts, output, options.has_images, number)
        try:
            images = self._images(document, page, content)
        except Exception as error:
            if not isinstance(error, HandlerError):
                logger.exception("no images", extra={"page": page.number})
            # The text is worth having without them, and without references to them.
            content = self._content(document, parts, output, include_images=False)
            images = {}
            warnings.append(
                PageWarning("images_missing", "the figures could not be cut out")
            )
        if number is not None and content.figures:
            content = self._illustrated(document, page, content, images, number)
        return replace(content, warnings=(*content.warnings, *warnings)), images

    def _illustrated(
        self,
        document: OpenDocument,
        page: Page,
        content: PageContent,
        images: dict[str, str],
        number: int,
    ) -> PageContent:
        """Put pictures into the content, as many as the document has room for."""
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
            f"because a document has {self._max_inline_bytes:,} bytes of them at most; "
            "ask for fewer pages, or for JSON with include_images",
        )
        return replace(content, warnings=(*content.warnings, warning))

    def _content(
        self,
        document: OpenDocument,
        parts: Parts,
        output: EngineOutput,
        include_images: bool,
        markdown_number: int | None = None,
    ) -> PageContent:
        page, options = parts.page, document.options
        convert: Callable[..., PageContent] = postprocess.convert_page
        answer: str | tuple[postprocess.StripAnswer, ...] = output.text
        if page.strips:
            convert = postprocess.convert_strips
            answer = tuple(
                postprocess.StripAnswer(strip, part.text)
                for strip, part in zip(page.strips, parts.in_order, strict=True)
                if part.error is None
            )
        try:
            return self._pool.call_for(
                CallContext(request_id=document.request_id, page=page.number),
                math.inf,
                self._max_seconds,
                convert,
                answer,
                bbox_format=self._bbox_format,
                width=page.width,
                height=page.height,
                rotation=page.rotation,
                prompt_type=postprocess.CUSTOM
                if options.prompt
                else options.prompt_type,
                page_number=page.number,
                include_images=include_images,
                include_headers_footers=options.include_headers_footers,
                html_tables=options.tables == "html",
                markdown_number=markdown_number,
            )
        except PoolBusyError as error:
            raise OverloadedError("all writers are busy with other pages") from error
        except (CallKilledError, CallStalledError) as error:
            raise OverloadedError(
                "two writers in turn were ended or stopped from outside, as happens "
                "where memory is short; try again"
            ) from error
        except (CallTimeoutError, CallCrashedError) as error:
            logger.exception("conversion failed", extra={"page": page.number})
            raise HandlerError("the model's answer could not be converted") from error

    def _images(
        self, document: OpenDocument, page: Page, content: PageContent
    ) -> dict[str, str]:
        """Base64 of WebP by the name the content has for each figure."""
        if not content.figures:
            return {}
        crops = self._decoding.run(
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
