"""Example pages of Chandra 1 and 2, and functions to convert them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handler.postprocess import ConversionOptions, PageGeometry, convert_page
from handler.profiles import BboxFormat
from handler.schema import PageContent

DATA = Path(__file__).parent / "data"
REPORT = (DATA / "report.txt").read_text("utf-8")
"""Output of Chandra 1 for a page of a report, with one block of each common kind."""
CHEMISTRY = (DATA / "chemistry.txt").read_text("utf-8")
"""Output of Chandra 2 with reasoning, a fence, nested blocks, label variants, and a
blank page."""


def convert(
    raw: str,
    *,
    page_number: int = 1,
    width: int = 1024,
    height: int = 2048,
    bbox_format: BboxFormat = BboxFormat.JSON_1024,
    prompt_type: str = "ocr_layout",
    **options: Any,
) -> PageContent:
    """Convert model output for a page; `options` are fields of `ConversionOptions`."""
    return convert_page(
        raw,
        PageGeometry(page_number, width, height, bbox_format),
        ConversionOptions(prompt_type, **options),
    )


def make_block(
    content: str, label: str = "Text", bbox: str = "[10, 20, 110, 120]"
) -> str:
    """Return the HTML of a block as Chandra 1 writes it."""
    return f'<div data-bbox="{bbox}" data-label="{label}">{content}</div>'


def convert_block_to_markdown(content: str, label: str = "Text", **options: Any) -> str:
    """Return the Markdown of a page that has one block with this content."""
    return convert(make_block(content, label), **options).markdown


def labels_of(content: PageContent) -> list[str]:
    return [block.label for block in content.blocks]


TWO_BLOCKS = make_block("<p>one</p>") + make_block("<p>two</p>", "Caption")
