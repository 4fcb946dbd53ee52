"""How large a document may be."""

from __future__ import annotations

from dataclasses import dataclass

from handler.errors import DocumentTooLargeError, UnreadableDocumentError

__all__ = ["Limits", "check_pixels"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask us to read."""

    max_pages: int = 1000
    max_pixels: int = 150_000_000
    """Decoded pixels of one page. PDF pages are drawn at a size of our choosing,
    so only images meet this."""
    max_full_pixels: int = 50_000_000
    """An image with more pixels is decoded at half its width and height. The model sees
    a quarter of these pixels at most. A page of A4 has so many at 720 dpi."""


def check_pixels(subject: str, width: int, height: int, limits: Limits) -> None:
    """Refuse an image by what its header says, before any of it is decoded."""
    if width < 1 or height < 1:
        raise UnreadableDocumentError(f"{subject} is {width} x {height} pixels")
    if width * height > limits.max_pixels:
        times = width * height / limits.max_pixels
        raise DocumentTooLargeError(
            f"{subject} is {width} x {height} pixels, {times:.3g} times the limit of "
            f"{limits.max_pixels:,} pixels for one page"
        )
