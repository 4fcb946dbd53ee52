"""Limits on the size of a document."""

from __future__ import annotations

from dataclasses import dataclass

from handler.errors import DocumentTooLargeError, UnreadableDocumentError

__all__ = ["Limits", "check_pixels"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the document of one request."""

    max_pages: int = 1000
    """Number of pages that one request may select."""
    max_pixels: int = 150_000_000
    """Decoded pixels of one page. The limit applies to images only, because the
    service chooses the size at which PDF pages are rendered."""
    max_full_pixels: int = 50_000_000
    """Number of pixels above which an image is decoded at half its width and height.
    The model's input is smaller still. A4 at 720 dpi has this many pixels."""


def check_pixels(subject: str, width: int, height: int, limits: Limits) -> None:
    """Check the size of an image, before any pixels are decoded.

    Raises UnreadableDocumentError for an empty image and DocumentTooLargeError for one
    above the limit. `subject` names the image in the message.
    """
    if width < 1 or height < 1:
        raise UnreadableDocumentError(f"{subject} is {width} x {height} pixels")
    if width * height > limits.max_pixels:
        times = width * height / limits.max_pixels
        raise DocumentTooLargeError(
            f"{subject} is {width} x {height} pixels, {times:.3g} times the limit of "
            f"{limits.max_pixels:,} pixels for one page"
        )
