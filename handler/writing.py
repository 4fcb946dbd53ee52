"""From the model's words about a page to that page of the answer."""

from __future__ import annotations

import base64
import logging
import math
from collections.abc import Callable
from dataclasses import replace

from handler import postprocess, preprocess
from handler.decoding import Decoding
from handler.engine import Generation
from handler.errors import HandlerError, OverloadedError
from handler.parts import Parts, merge_generations
from handler.pool import (
    CallContext,
    CallCrashedError,
    CallKilledError,
    CallStalledError,
    CallTimeoutError,
    Pool,
    PoolBusyError,
)
from handler.profiles import BboxFormat, Sizing
from handler.reading import Reading
from handler.schema import (
    Page,
    PageContent,
    PageError,
    PageResult,
    PageWarning,
    Status,
)

__all__ = ["Writing"]

logger = logging.getLogger(__name__)


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
    ) -> None:
        self._pool = pool
        self._max_seconds = max_seconds
        self._bbox_format = bbox_format
        self._decoding = decoding
        self._sizing = sizing
        self._limits = limits

    def result(self, reading: Reading, parts: Parts) -> PageResult:
        """Return the page of the answer; an error of its own where there is none.

        A page of which some strips failed has the text of the others, and an error.
        """
        page, generation = parts.page, merge_generations(parts.in_order)
        error = parts.error
        result = PageResult(
            page=page.number,
            status=Status.FAILURE,
            width=page.width,
            height=page.height,
            rotation=page.rotation,
            attempts=generation.num_attempts,
            queue_seconds=generation.queue_seconds,
            page_seconds=generation.page_seconds,
            error=error,
        )
        if all(part.error is not None for part in parts.in_order):
            return result
        try:
            content, images = self._content_and_images(reading, parts, generation)
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
            raw=generation.text,
            finish_reason=str(generation.finish_reason),
            output_tokens=generation.num_output_tokens,
            forwards=generation.num_forwards,
            drafted_tokens=generation.num_drafted_tokens,
            accepted_tokens=generation.num_accepted_tokens,
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
        self, reading: Reading, parts: Parts, generation: Generation
    ) -> tuple[PageContent, dict[str, str]]:
        page = parts.page
        warnings = [*page.warnings, *parts.warnings]
        wants_images = reading.options.include_images
        content = self._content(reading, parts, generation, wants_images)
        try:
            images = self._images(reading, page, content)
        except Exception as error:
            if not isinstance(error, HandlerError):
                logger.exception("no images", extra={"page": page.number})
            # The text is worth having without them, and without references to them.
            content = self._content(reading, parts, generation, include_images=False)
            images = {}
            warnings.append(
                PageWarning("images_missing", "the figures could not be cut out")
            )
        return replace(content, warnings=(*content.warnings, *warnings)), images

    def _content(
        self,
        reading: Reading,
        parts: Parts,
        generation: Generation,
        include_images: bool,
    ) -> PageContent:
        page = parts.page
        convert: Callable[..., PageContent] = postprocess.page_content
        answer: str | tuple[postprocess.StripAnswer, ...] = generation.text
        if page.strips:
            convert = postprocess.joined_content
            answer = tuple(
                postprocess.StripAnswer(strip, part.text)
                for strip, part in zip(page.strips, parts.in_order, strict=True)
                if part.error is None
            )
        try:
            return self._pool.call_for(
                CallContext(request_id=reading.request_id, page=page.number),
                math.inf,
                self._max_seconds,
                convert,
                answer,
                bbox_format=self._bbox_format,
                width=page.width,
                height=page.height,
                rotation=page.rotation,
                prompt_type=reading.options.prompt_type,
                page_number=page.number,
                include_images=include_images,
                include_headers_footers=reading.options.include_headers_footers,
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
        self, reading: Reading, page: Page, content: PageContent
    ) -> dict[str, str]:
        """Base64 of WebP by the name the content has for each figure."""
        if not content.figures:
            return {}
        crops = self._decoding.run(
            reading.call_context(page.number),
            reading.deadline,
            preprocess.crops_at,
            reading.document.read_only,
            reading.info.media_type,
            page.number,
            self._sizing,
            self._limits,
            content.figures,
            reading.decode_options,
            page.rotation,
        )
        return {name: base64.b64encode(crop).decode() for name, crop in crops.items()}
