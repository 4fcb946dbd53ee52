"""The values that pass between the stages, and their JSON."""

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
    """How a page or a document fared."""

    SUCCESS = "success"
    PARTIAL_SUCCESS = "partial_success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may ask for besides the document."""

    prompt_type: str = "ocr_layout"
    pages: str | None = None
    """Page ranges such as `1-3,7`, counted from 1; None: all pages."""
    max_output_tokens: int | None = None
    deadline_seconds: float | None = None
    include_images: bool = False
    include_headers_footers: bool = False
    prompt: str | None = field(default=None, repr=False)
    """Said to the model in place of the prompt of `prompt_type`. Never logged."""
    temperature: float = 0.0
    """Temperature of the first attempt; 0 means greedy decoding."""
    max_attempts: int | None = None
    """Times a page is read on which the model repeats itself; None: the setting."""
    paginate: bool = False
    """Separate the pages of Markdown by lines with numbers."""
    tables: str = "markdown"
    """`html`: write every table in Markdown as HTML; `markdown`: only those that rows
    of pipes cannot hold."""
    inline_images: bool = False
    """Put pictures into Markdown and HTML as data URLs; implies `include_images`."""
    rotate: str = "auto"
    """`auto`: turn pages so that their text is upright; `none`: leave them."""
    password: str | None = field(default=None, repr=False)
    """Opens an encrypted PDF. Never logged."""

    @property
    def has_images(self) -> bool:
        """True if pictures are cut out of the pages."""
        return self.include_images or self.inline_images


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """What is known of a document before any of its pages is decoded."""

    media_type: str
    num_pages: int
    warnings: tuple[PageWarning, ...] = ()
    """Concern the document as a whole."""


MAX_STRIPS = 16
"""Strips of a page at most: each is a generation of its own."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A part of a long page that is read by itself, so that its text is legible.

    Strips follow each other along the page's long side, in reading order.
    """

    box: tuple[int, int, int, int]
    """(left, top, right, bottom) in pixels of the upright page."""
    overlap: int = 0
    """Pixels along the long side that the strip before shows too."""
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
    """One page as the model will see it.

    `pixels` is RGB, uint8, row by row: `pixel_height * pixel_width * 3` bytes on
    the grid the vision encoder needs. `width` and `height` are those of the page
    as the caller knows it: pixels of the upright image, or of the rendered PDF
    page. Bounding boxes are in those.
    """

    number: int
    width: int
    height: int
    pixel_width: int
    pixel_height: int
    pixels: bytes = field(repr=False)
    text_layer: str = field(default="", repr=False)
    """What a PDF says stands on the page: a hint, for it may be wrong or missing."""
    rotation: int = 0
    """Degrees clockwise by which the page was turned before it is read: 0, 90, 180 or
    270. `pixels` are turned; `width` and `height` are those of the caller's page."""
    is_blank: bool = False
    """True for a page without ink, which is not sent to the model."""
    warnings: tuple[PageWarning, ...] = ()
    """Doubts about the pixels, such as a truncated image."""
    strips: tuple[Strip, ...] = ()
    """The parts in which a long page is read. Such a page has no `pixels`: each strip
    is decoded by itself, as a page of its own."""

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
    """A region of a page: its kind, its place, its content as clean HTML."""

    label: str
    bbox: tuple[int, int, int, int] | None
    """(left, top, right, bottom) in pixels of the page; None: not given or unusable."""
    html: str

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "bbox": None if self.bbox is None else list(self.bbox),
            "html": self.html,
        }


@dataclass(frozen=True, slots=True)
class PageWarning:
    """Something a reader of the page should know; the page is still an answer."""

    code: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class PageError:
    """Why a page could not be read."""

    code: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class PageContent:
    """What the model's words about a page amount to."""

    blocks: tuple[Block, ...] = ()
    html: str = ""
    markdown: str = ""
    text: str = ""
    figures: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    """Names of pictures the HTML and Markdown point to, and where to cut them out."""
    warnings: tuple[PageWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class PageResult:
    """One page of the answer."""

    page: int
    status: Status
    width: int | None = None
    height: int | None = None
    rotation: int = 0
    """Degrees clockwise by which the page was turned before it was read."""
    content: PageContent = PageContent()
    images: dict[str, str] = field(default_factory=dict)
    """Base64 of WebP pictures by the name they have in `content`."""
    raw: str = ""
    finish_reason: str | None = None
    attempts: int = 0
    output_tokens: int = 0
    forwards: int = 0
    """Of the model, for these tokens; drafts make them fewer."""
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    queue_seconds: float = 0.0
    """Time in TorchServe's queue, with its request, and then in the engine's."""
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
    """Which weights answered."""

    id: str
    revision: str | None
    engine: str

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "revision": self.revision, "engine": self.engine}


def _ratio(numerator: int, denominator: int) -> float | None:
    return round(numerator / denominator, 3) if denominator else None


PAGE_SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class DocumentResult:
    """The whole answer to one request."""

    request_id: str
    model: ModelInfo
    pages: tuple[PageResult, ...]
    processing_time: float
    """Seconds from the request's arrival to its answer."""
    num_pages: int
    """Pages of the whole document, also of those that were not asked for."""
    warnings: tuple[PageWarning, ...] = ()
    """Concern the document as a whole."""
    is_paginated: bool = False
    """True if separators stand between the pages of Markdown."""

    @property
    def status(self) -> Status:
        if all(page.status is Status.SUCCESS for page in self.pages):
            return Status.SUCCESS
        if all(page.status is Status.FAILURE for page in self.pages):
            return Status.FAILURE
        return Status.PARTIAL_SUCCESS

    @property
    def output_tokens(self) -> int:
        return sum(page.output_tokens for page in self.pages)

    def joined(self, name: str) -> str:
        """`markdown`, `html` or `text` of all pages, in page order."""
        parts = (getattr(page.content, name) for page in self.pages)
        return PAGE_SEPARATOR.join(part for part in parts if part)

    def _markdown(self) -> str:
        if not self.is_paginated:
            return self.joined("markdown")
        return paginate((page.page, page.content.markdown) for page in self.pages)

    def usage_json(self) -> dict[str, Any]:
        """What it took; ratios are None where there is nothing to divide by."""
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
            "markdown": self._markdown(),
            "text": self.joined("text"),
            "raw": PAGE_SEPARATOR.join(page.raw for page in self.pages if page.raw),
            "processing_time": round(self.processing_time, 3),
            "usage": self.usage_json(),
        }
