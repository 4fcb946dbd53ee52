"""Pages as the two lines of Chandra write them, and a short way to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handler.postprocess import convert_page
from handler.profiles import BboxFormat
from handler.schema import PageContent

DATA = Path(__file__).parent / "data"
REPORT = (DATA / "report.txt").read_text("utf-8")
"""Chandra 1: a page of a report, with one of everything."""
CHEMISTRY = (DATA / "chemistry.txt").read_text("utf-8")
"""Chandra 2: reasoning, a fence, nested blocks, labels that drift, a blank page."""


def read(raw: str, **options: Any) -> PageContent:
    """The content of a page of 1024 x 2048 pixels, with defaults for the rest."""
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
    """One block as Chandra 1 writes it."""
    return f'<div data-bbox="{bbox}" data-label="{label}">{content}</div>'


def markdown(content: str, label: str = "Text", **options: Any) -> str:
    """The Markdown of a page with one block."""
    return read(block(content, label), **options).markdown
