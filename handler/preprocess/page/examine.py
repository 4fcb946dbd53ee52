"""Examine the pixels of a page before the model sees them.

In this order: a page that is light on dark is inverted, a page without ink, of any
colour, is told apart, a page that lies on its side or upside down is turned.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.page.blank import has_ink
from handler.preprocess.page.colour import view_of_colours
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
    view: Image.Image
    """The page as `image`, so that its ink is dark or light in gray."""


def examine(image: Image.Image, options: DecodeOptions) -> Examined:
    """Return an upright RGB page turned, and inverted, as its text demands."""
    gray = small_gray(image)
    warnings: tuple[PageWarning, ...] = ()
    if (inverted := inverted_gray(gray)) is not None:
        gray, image = inverted, with_inverted_luminance(image)
        detail = "light text on a dark page: it was read with its luminance inverted"
        warnings = (PageWarning("light_on_dark", detail),)
    ink, view = find_ink(gray), image
    if not has_ink(gray, ink):
        colours = view_of_colours(image, ink)
        if colours is None:
            detail = (
                "the page has no ink, or too faint to be read; the model did not see it"
            )
            warnings = (PageWarning("blank_page", detail),)
            return Examined(image, 0, True, warnings, image)
        view, gray = colours, small_gray(colours)
        ink = find_ink(gray)
    rotation = detect_rotation(gray, ink, view) if options.detect_rotation else 0
    upright = turned(image, rotation)
    view = upright if view is image else turned(view, rotation)
    return Examined(upright, rotation, False, warnings, view)


def turned(image: Image.Image, degrees: int) -> Image.Image:
    """Return the image turned clockwise by 0, 90, 180 or 270 degrees."""
    return image.transpose(_TURNS[degrees]) if degrees else image
