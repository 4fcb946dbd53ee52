"""Fonts of rendered pages, which all come with Python packages.

DejaVu (Bitstream Vera licence) is part of matplotlib, and Aileron (CC0) of Pillow.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import ImageFont

__all__ = ["FAMILIES", "Family", "advance_width", "load_font"]

_FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@dataclass(frozen=True, slots=True)
class Family:
    """Typeface with the files of its two weights; None stands for Pillow's own font."""

    name: str
    regular: str | None
    bold: str | None


FAMILIES = (
    Family("DejaVu Sans", "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    Family("DejaVu Serif", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    Family("DejaVu Sans Mono", "DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    Family("Aileron", None, None),
)


@functools.lru_cache(maxsize=512)
def load_font(
    family: Family, size: int, *, bold: bool = False
) -> ImageFont.FreeTypeFont:
    """Return the font with `size` pixels per em. Aileron has only one weight."""
    name = family.bold if bold else family.regular
    if name is None:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    # Basic layout, because not every Pillow has Raqm, whose kerning differs.
    return ImageFont.truetype(
        _FOLDER / name, size, layout_engine=ImageFont.Layout.BASIC
    )


@functools.lru_cache(maxsize=65_536)
def advance_width(font: ImageFont.FreeTypeFont, character: str) -> float:
    """Return the advance width of a character in pixels."""
    return font.getlength(character)
