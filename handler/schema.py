"""Data classes that the stages pass to each other, and their JSON."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from handler.pagination import paginate

__all__ = [
    "Block",
    "DocumentInfo",
    "DocumentResult",
    "ModelInfo",
    "Options",
    "Page",
    "PageContent",
    "PageError",
    "PageResult",
    "PageWarning",
    "Status",
    "Strip",
]


class Status(enum.StrEnum):
    """Status of a page or of a document."""

    SUCCESS = "success"
    PARTIAL_SUCCESS = "partial_success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a request."""

    prompt_type: str = "ocr_layout"
    pages: str | None = None
    """Page ranges such as `1-3,7`, counted from 1; None: all pages."""
    max_output_tokens: int | None = None
    deadline_seconds: float | None = None
    include_images: bool = False
    include_headers_footers: bool = False
    prompt: str | None = field(default=None, repr=False)
    """Prompt that replaces the one of `prompt_type`. Never logged."""
    temperature: float = 0.0
    """Temperature of the first attempt; 0 means greedy decoding."""
    max_attempts: int | None = None
    """Number of attempts for a page on which the model repeats itself; None: the
    setting `max_attempts`."""
    paginate: bool = False
    """Separate the pages of Markdown by lines with page numbers."""
    tables: str = "markdown"
    """`html`: write every table in Markdown as HTML; `markdown`: write only those as
    HTML that Markdown tables cannot represent."""
    inline_images: bool = False
    """Put pictures into Markdown and HTML as data URLs; implies `include_images`."""
    rotate: str = "auto"
    """`auto`: turn pages so that their text is upright; `none`: leave them."""
    password: str | None = field(default=None, repr=False)
    """Password of an encrypted PDF. Never logged."""

    @property
    def has_images(self) -> bool:
        """True if pictures are cut out of the pages."""
        return self.include_images or self.inline_images


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """Properties of a document that are known before a page is decoded."""

    media_type: str
    num_pages: int
    warnings: tuple[PageWarning, ...] = ()
    """Warnings about the document as a whole."""


MAX_STRIPS = 16
"""Maximum number of strips of a page; the engine reads each strip separately."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Part of a long page that is read separately, so that its text stays legible.

    Strips follow each other along the page's long side, in reading order.
    """

    box: tuple[int, int, int, int]
    """(left, top, right, bottom) in pixels of the upright page."""
    overlap: int = 0
    """Pixels along the long side that the previous strip contains as well."""
    is_continuation: bool = False
    """True if the strip may begin within a paragraph, list or table."""

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        return self.box[3] - self.box[1]


@dataclass(frozen=True, slots=True)
class Page:
    """Decoded page, as the model gets it.

    `pixels` is RGB, uint8, row by row: `pixel_height * pixel_width * 3` bytes, with
    sides that fit the patch grid of the vision encoder. `width` and `height` are the
    size of the page as the caller knows it: pixels of the upright image, or of the
    rendered PDF page. Bounding boxes use these units.
    """

    number: int
    width: int
    height: int
    pixel_width: int
    pixel_height: int
    pixels: bytes = field(repr=False)
    text_layer: str = field(default="", repr=False)
    """Text layer of a PDF page, used as a hint only: it may be wrong or missing."""
    rotation: int = 0
    """Degrees clockwise by which the page was turned for reading: 0, 90, 180 or 270.
    `pixels` are turned; `width` and `height` describe the page before the turn."""
    is_blank: bool = False
    """True for a page without ink, which is not sent to the model."""
    warnings: tuple[PageWarning, ...] = ()
    """Warnings about the pixels, such as a truncated image."""
    strips: tuple[Strip, ...] = ()
    """Strips in which a long page is read. Such a page has no `pixels`: each strip is
    decoded separately, as a Page."""

    @property
    def is_consistent(self) -> bool:
        """True if the sizes are positive and match the number of pixels and strips."""
        sides = (self.width, self.height, self.pixel_width, self.pixel_height)
        if min(sides) <= 0 or len(self.strips) > MAX_STRIPS:
            return False
        if self.strips:
            return not self.pixels and all(map(self._contains, self.strips))
        return len(self.pixels) == 3 * self.pixel_width * self.pixel_height

    def _contains(self, strip: Strip) -> bool:
        # A page that was turned by 90 degrees has its sides exchanged.
        is_turned = self.rotation % 180 != 0
        sides = (self.height, self.width) if is_turned else (self.width, self.height)
        left, top, right, bottom = strip.box
        is_within = 0 <= left < right <= sides[0] and 0 <= top < bottom <= sides[1]
        return is_within and 0 <= strip.overlap < max(strip.width, strip.height)


@dataclass(frozen=True, slots=True)
class Block:
    """Region of a page: its label, its box and its content as sanitised HTML."""

    label: str
    bbox: tuple[int, int, int, int] | None
    """(left, top, right, bottom) in pixels of the page; None: missing or invalid."""
    html: str

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "bbox": None if self.bbox is None else list(self.bbox),
            "html": self.html,
        }


@dataclass(frozen=True, slots=True)
class PageWarning:
    """Doubt about a page or a document that could be read nevertheless."""

    code: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class PageError:
    """Reason why a page could not be read."""

    code: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class PageContent:
    """Content of a page, converted from the model's output."""

    blocks: tuple[Block, ...] = ()
    html: str = ""
    markdown: str = ""
    text: str = ""
    figures: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    """Boxes of the pictures on the page, by the name that HTML and Markdown use."""
    warnings: tuple[PageWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class PageResult:
    """Result of one page."""

    page: int
    status: Status
    width: int | None = None
    height: int | None = None
    rotation: int = 0
    """Degrees clockwise by which the page was turned before it was read."""
    content: PageContent = PageContent()
    images: dict[str, str] = field(default_factory=dict)
    """Pictures as base64 of WebP, by their name in `content`."""
    raw: str = ""
    finish_reason: str | None = None
    attempts: int = 0
    output_tokens: int = 0
    forwards: int = 0
    """Forward passes for these tokens; accepted draft tokens reduce their number."""
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    queue_seconds: float = 0.0
    """Time in TorchServe's queue plus time in the engine's queue."""
    page_seconds: float = 0.0
    error: PageError | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "page": self.page,
            "status": str(self.status),
            "width": self.width,
            "height": self.height,
            "rotation": self.rotation,
            "markdown": self.content.markdown,
            "html": self.content.html,
            "blocks": [block.to_json() for block in self.content.blocks],
            "images": dict(self.images),
            "raw": self.raw,
            "finish_reason": self.finish_reason,
            "attempts": self.attempts,
            "output_tokens": self.output_tokens,
            "warnings": [warning.to_json() for warning in self.content.warnings],
            "error": None if self.error is None else self.error.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Identity of the weights and the engine that read the document."""

    id: str
    revision: str | None
    engine: str

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "revision": self.revision, "engine": self.engine}


def _ratio(numerator: int, denominator: int) -> float | None:
    """Return the quotient, rounded to three digits, or None for a denominator of 0."""
    return round(numerator / denominator, 3) if denominator else None


PAGE_SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class DocumentResult:
    """Result of one document."""

    request_id: str
    model: ModelInfo
    pages: tuple[PageResult, ...]
    processing_time: float
    """Seconds from the arrival of the request to its reply."""
    num_pages: int
    """Number of pages of the whole document, including pages not requested."""
    warnings: tuple[PageWarning, ...] = ()
    """Warnings about the document as a whole."""
    is_paginated: bool = False
    """True if Markdown has a separator between two pages."""

    @property
    def status(self) -> Status:
        """Success or failure if all pages agree, otherwise partial success."""
        if all(page.status is Status.SUCCESS for page in self.pages):
            return Status.SUCCESS
        if all(page.status is Status.FAILURE for page in self.pages):
            return Status.FAILURE
        return Status.PARTIAL_SUCCESS

    @property
    def output_tokens(self) -> int:
        return sum(page.output_tokens for page in self.pages)

    def join_pages(self, field_name: str) -> str:
        """Return a field of all pages' contents, joined in page order.

        The field is `markdown`, `html` or `text`. Pages without content in it are left
        out.
        """
        parts = (getattr(page.content, field_name) for page in self.pages)
        return PAGE_SEPARATOR.join(part for part in parts if part)

    def _join_markdown(self) -> str:
        """Return the Markdown of all pages, with page separators if it is paginated."""
        if not self.is_paginated:
            return self.join_pages("markdown")
        return paginate((page.page, page.content.markdown) for page in self.pages)

    def usage_json(self) -> dict[str, Any]:
        """Return token and page counts; a ratio is None if its denominator is 0."""
        forwards = sum(page.forwards for page in self.pages)
        drafted = sum(page.drafted_tokens for page in self.pages)
        accepted = sum(page.accepted_tokens for page in self.pages)
        return {
            "pages": len(self.pages),
            "output_tokens": self.output_tokens,
            "forwards": forwards,
            "tokens_per_forward": _ratio(self.output_tokens, forwards),
            "draft_acceptance": _ratio(accepted, drafted),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "request_id": self.request_id,
            "status": str(self.status),
            "model": self.model.to_json(),
            "num_pages": self.num_pages,
            "warnings": [warning.to_json() for warning in self.warnings],
            "pages": [page.to_json() for page in self.pages],
            "markdown": self._join_markdown(),
            "text": self.join_pages("text"),
            "raw": PAGE_SEPARATOR.join(page.raw for page in self.pages if page.raw),
            "processing_time": round(self.processing_time, 3),
            "usage": self.usage_json(),
        }
