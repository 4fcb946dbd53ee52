"""The fonts of rendered pages, all of them installed by pip.

DejaVu (Bitstream Vera's licence) comes with matplotlib; Aileron (CC0) comes with
Pillow.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import ImageFont

__all__ = ["FAMILIES", "Family", "advance", "load"]

_FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@dataclass(frozen=True, slots=True)
class Family:
    """A typeface: the files of its two weights; None is Pillow's own font."""

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
def load(family: Family, size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The face at `size` pixels an em; Aileron has one weight."""
    name = family.bold if bold else family.regular
    if name is None:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    # Basic layout, because Raqm is not in every Pillow and kerns differently.
    return ImageFont.truetype(
        _FOLDER / name, size, layout_engine=ImageFont.Layout.BASIC
    )


@functools.lru_cache(maxsize=65_536)
def advance(font: ImageFont.FreeTypeFont, character: str) -> float:
    """How far the pen moves for one character, in pixels."""
    return font.getlength(character)
