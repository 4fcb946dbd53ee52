"""Examine the pixels of a page before the model sees them.

In this order: a page that is light on dark is inverted, a page without ink is told
apart, a page that lies on its side or upside down is turned.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.page.blank import has_ink
from handler.preprocess.page.ink import find_ink, small_gray
from handler.preprocess.page.inversion import inverted_gray, with_inverted_luminance
from handler.preprocess.page.orientation import detect_rotation
from handler.schema import PageWarning

__all__ = ["Examined", "examine", "turned"]

_TURNS = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


class Examined(NamedTuple):
    """A page as the model should see it, at the resolution of the caller's page."""

    image: Image.Image
    rotation: int
    """Degrees clockwise by which `image` was turned."""
    is_blank: bool
    warnings: tuple[PageWarning, ...]


def examine(image: Image.Image, options: DecodeOptions) -> Examined:
    """Return an upright RGB page turned, and inverted, as its text demands."""
    gray = small_gray(image)
    warnings: tuple[PageWarning, ...] = ()
    if (inverted := inverted_gray(gray)) is not None:
        gray, image = inverted, with_inverted_luminance(image)
        detail = "light text on a dark page: it was read with its luminance inverted"
        warnings = (PageWarning("light_on_dark", detail),)
    ink = find_ink(gray)
    if not has_ink(gray, ink):
        detail = (
            "the page has no ink, or too faint to be read; the model did not see it"
        )
        return Examined(image, 0, True, (PageWarning("blank_page", detail),))
    rotation = detect_rotation(gray, ink, image) if options.detect_rotation else 0
    return Examined(turned(image, rotation), rotation, False, warnings)


def turned(image: Image.Image, degrees: int) -> Image.Image:
    """Return the image turned clockwise by 0, 90, 180 or 270 degrees."""
    return image.transpose(_TURNS[degrees]) if degrees else image
