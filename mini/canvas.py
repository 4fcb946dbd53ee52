"""Canvas of a page, which draws on an image and records what it draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Canvas", "Ink", "Mark"]

Ink = tuple[int, ...]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Recorded drawing operation, in pixels from the upper left corner."""

    kind: Literal["text", "rectangle", "line", "ellipse"]
    points: tuple[float, ...]
    """x and y of each point. A text has the left end of its baseline, a rectangle or
    ellipse two opposite corners."""
    fill: Ink | None = None
    outline: Ink | None = None
    width: int = 1
    text: str = ""
    font: ImageFont.FreeTypeFont | None = None


class Canvas:
    """Canvas with the methods of Pillow's ImageDraw; `marks` records all operations."""

    def __init__(self, image: Image.Image) -> None:
        self._draw = ImageDraw.Draw(image)
        self.marks: list[Mark] = []

    def text(
        self,
        place: tuple[float, float],
        text: str,
        *,
        font: ImageFont.FreeTypeFont,
        fill: Ink,
    ) -> None:
        self._draw.text(place, text, font=font, fill=fill, anchor="ls")
        self.marks.append(Mark("text", place, fill=fill, text=text, font=font))

    def rectangle(
        self,
        corners: tuple[float, float, float, float],
        *,
        fill: Ink | None = None,
        outline: Ink | None = None,
    ) -> None:
        self._draw.rectangle(corners, fill=fill, outline=outline)
        self.marks.append(Mark("rectangle", corners, fill=fill, outline=outline))

    def line(self, points: Sequence[float], *, fill: Ink, width: int = 1) -> None:
        self._draw.line(points, fill=fill, width=width)
        self.marks.append(Mark("line", tuple(points), fill=fill, width=width))

    def ellipse(self, corners: tuple[float, float, float, float], *, fill: Ink) -> None:
        self._draw.ellipse(corners, fill=fill)
        self.marks.append(Mark("ellipse", corners, fill=fill))
