"""Example pages of Chandra 1 and 2, and functions to convert them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handler.postprocess import convert_page
from handler.profiles import BboxFormat
from handler.schema import PageContent

DATA = Path(__file__).parent / "data"
REPORT = (DATA / "report.txt").read_text("utf-8")
"""Answer of Chandra 1 for a page of a report, with one block of each common kind."""
CHEMISTRY = (DATA / "chemistry.txt").read_text("utf-8")
"""Answer of Chandra 2 with reasoning, a fence, nested blocks, label variants, and a
blank page."""


def convert(raw: str, **options: Any) -> PageContent:
    """Convert an answer for a page of 1024 x 2048 pixels, with defaults for options."""
    settings: dict[str, Any] = {
        "bbox_format": BboxFormat.JSON_1024,
        "width": 1024,
        "height": 2048,
        "prompt_type": "ocr_layout",
        "page_number": 1,
        "include_images": False,
        "include_headers_footers": False,
    }
    return convert_page(raw, **(settings | options))


def block(content: str, label: str = "Text", bbox: str = "[10, 20, 110, 120]") -> str:
    """Return a block as Chandra 1 writes it."""
    return f'<div data-bbox="{bbox}" data-label="{label}">{content}</div>'


def markdown(content: str, label: str = "Text", **options: Any) -> str:
    """Return the Markdown of a page with one block."""
    return convert(block(content, label), **options).markdown


def labels_of(content: PageContent) -> list[str]:
    return [block.label for block in content.blocks]


TWO_BLOCKS = block("<p>one</p>") + block("<p>two</p>", "Caption")
