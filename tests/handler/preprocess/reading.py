"""Helpers that decode documents as the service does, from an unnamed file."""

from __future__ import annotations

from PIL import Image

from handler.preprocess import (
    DecodeOptions,
    Limits,
    decode_page,
    inspect_document,
    media_type_of,
)
from handler.profiles import PROFILES, Sizing
from handler.schema import DocumentInfo, Page
from tests.documents import spooled

MINI = PROFILES["mini"].sizing
CHANDRA = PROFILES["chandra"].sizing
CHANDRA_2 = PROFILES["chandra-2"].sizing


def inspect_content(
    content: bytes, declared: str | None = None, limits: Limits | None = None
) -> DocumentInfo:
    """Inspect a document with the given Content-Type."""
    with spooled(content) as document:
        return inspect_document(document, declared, limits or Limits())


def decode_content(
    content: bytes,
    number: int = 1,
    sizing: Sizing = MINI,
    limits: Limits | None = None,
    options: DecodeOptions | None = None,
) -> Page:
    """Decode one page of a document, whose type is detected."""
    media_type = media_type_of(content)
    assert media_type is not None
    limits, options = limits or Limits(), options or DecodeOptions()
    with spooled(content) as document:
        return decode_page(document, media_type, number, sizing, limits, options)


def to_image(page: Page) -> Image.Image:
    """Return the model's input as an image."""
    return Image.frombytes("RGB", (page.pixel_width, page.pixel_height), page.pixels)


def colour_at(page: Page, x: float, y: float) -> tuple[int, int, int]:
    """Return the RGB values at a point given as shares of width and height."""
    column, row = int(x * page.pixel_width), int(y * page.pixel_height)
    start = 3 * (row * page.pixel_width + column)
    red, green, blue = page.pixels[start : start + 3]
    return red, green, blue


def darkest_level(page: Page, top: float, bottom: float) -> int:
    """Return the darkest value between two rows given as shares of the height."""
    row = 3 * page.pixel_width
    first, last = int(top * page.pixel_height), int(bottom * page.pixel_height)
    return min(page.pixels[first * row : last * row])
