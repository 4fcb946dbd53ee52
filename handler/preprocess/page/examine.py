"""Examination of a page's pixels before they are sent to the model.

The steps are, in this order: invert a page of light text on a dark background, detect
a blank page, and rotate a page that lies on its side or upside down.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.page.blank import has_ink
from handler.preprocess.page.colour import find_colour_view
from handler.preprocess.page.ink import find_ink, small_gray
from handler.preprocess.page.inversion import invert_dark_page, with_inverted_luminance
from handler.preprocess.page.orientation import detect_rotation
from handler.schema import PageWarning

__all__ = ["ExaminedPage", "examine", "rotate_image"]

_TURNS = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


class ExaminedPage(NamedTuple):
    """A page after inversion and rotation, at its original resolution."""

    image: Image.Image
    rotation: int
    """Degrees clockwise by which `image` was rotated."""
    is_blank: bool
    warnings: tuple[PageWarning, ...]
    view: Image.Image
    """The page with the orientation of `image`, with ink that is visible in gray."""


def examine(image: Image.Image, options: DecodeOptions) -> ExaminedPage:
    """Invert and rotate an RGB page so that its text is dark on light and upright.

    `image` itself is not changed. A blank page is not rotated. The warnings may be
    `light_on_dark` or `blank_page`.
    """
    gray = small_gray(image)
    warnings: tuple[PageWarning, ...] = ()
    if (inverted := invert_dark_page(gray)) is not None:
        gray, image = inverted, with_inverted_luminance(image)
        detail = "the page has light text on a dark ground; its luminance was inverted"
        warnings = (PageWarning("light_on_dark", detail),)
    ink, view = find_ink(gray), image
    if not has_ink(gray, ink):
        colours = find_colour_view(image, ink)
        if colours is None:
            detail = (
                "the page has no ink, or ink that is too faint; "
                "it was not sent to the model"
            )
            warnings = (PageWarning("blank_page", detail),)
            return ExaminedPage(image, 0, True, warnings, image)
        view, gray = colours, small_gray(colours)
        ink = find_ink(gray)
    rotation = detect_rotation(gray, ink, view) if options.detect_rotation else 0
    upright = rotate_image(image, rotation)
    view = upright if view is image else rotate_image(view, rotation)
    return ExaminedPage(upright, rotation, False, warnings, view)


def rotate_image(image: Image.Image, degrees: int) -> Image.Image:
    """Return the image rotated clockwise by 0, 90, 180 or 270 degrees."""
    return image.transpose(_TURNS[degrees]) if degrees else image
