"""Pen that draws lines and paragraphs down a page and records letter positions."""

from __future__ import annotations

import html
import random
from dataclasses import dataclass, field

from PIL import ImageFont

from mini.canvas import Canvas
from mini.fonts import FAMILIES, Family, advance_width
from mini.truth import Piece, RenderedBlock

__all__ = ["Domain", "Pen", "random_ink"]


@dataclass(frozen=True, slots=True)
class Domain:
    """Range of pages: their sizes, fonts and amount of text."""

    widths: tuple[int, int] = (512, 544)
    heights: tuple[int, int] = (640, 672)
    sizes: tuple[int, int] = (22, 28)
    """Font sizes in pixels per em."""
    min_leading: int = 33
    """Distance of baselines in pixels. No cell of 32 then has letters of two lines."""
    min_blocks: int = 1
    max_blocks: int = 12
    max_characters: int = 320
    families: tuple[Family, ...] = FAMILIES
    max_degrees: float = 1.0
    clean: float = 0.4
    """Share of pages that are neither rotated nor degraded."""


@dataclass(slots=True)
class Pen:
    """Pen that draws blocks downwards until the page or the text limit is reached."""

    rng: random.Random
    domain: Domain
    draw: Canvas
    family: Family
    size: int
    paper: tuple[int, int, int]
    ink: tuple[int, int, int]
    left: int
    right: int
    y: int
    bottom: int
    blocks: list[RenderedBlock] = field(default_factory=list)
    num_characters: int = 0

    def draw_line(
        self,
        text: str,
        x: float,
        y: float,
        font: ImageFont.FreeTypeFont,
        ink: tuple[int, int, int] | None = None,
    ) -> list[Piece]:
        """Draw a line with its baseline at `y`, and return its characters."""
        self.draw.text((x, y), text, font=font, fill=ink or self.ink)
        middle = y - 0.32 * font.size
        # Cached advances are fast but ignore kerning, so scale them to the true width.
        advances = [advance_width(font, character) for character in text]
        stretch = font.getlength(text) / max(1e-6, sum(advances))
        pieces = []
        for character, width in zip(text, advances, strict=True):
            width *= stretch
            pieces.append(
                Piece(html.escape(character, quote=False), (x + width / 2, middle))
            )
            x += width
        self.num_characters += len(text)
        return pieces

    def compute_leading(self, ems: float) -> int:
        """Return the distance of baselines in pixels, at least the domain's minimum."""
        return max(self.domain.min_leading, round(self.size * ems))

    def add_block(
        self, label: str, pieces: list[Piece], bbox: tuple[float, ...]
    ) -> None:
        """Record a block that has been drawn; `bbox` is (left, top, right, bottom)."""
        x0, y0, x1, y1 = bbox
        self.blocks.append(RenderedBlock(label, (x0, y0, x1, y1), pieces))

    def wrap_text(
        self, text: str, font: ImageFont.FreeTypeFont, left: int
    ) -> list[str]:
        """Wrap the text into lines, and drop words that are wider than a line."""
        width = self.right - left
        lines: list[str] = []
        used = 0.0
        for word in text.split():
            length = sum(advance_width(font, character) for character in word)
            if length > width:
                continue
            used += advance_width(font, " ") + length
            if lines and used <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
                used = length
        return lines

    def draw_paragraph(
        self, lines: list[str], x: int, leading: int, font: ImageFont.FreeTypeFont
    ) -> list[Piece]:
        """Draw the lines from the pen's height downwards, and return their characters.

        The pen does not move.
        """
        pieces: list[Piece] = []
        for index, line in enumerate(lines):
            drawn = self.draw_line(
                line, x, self.y + index * leading + round(0.8 * font.size), font
            )
            if index:
                # The space between two lines gets the position of the second line.
                pieces.append(Piece(" ", drawn[0].place))
            pieces += drawn
        return pieces

    def count_free_lines(self, leading: int) -> int:
        """Return the number of lines that fit; 0 at the limit of characters."""
        lines = (self.bottom - self.y) // leading
        return max(0, lines) if self.num_characters < self.domain.max_characters else 0

    def add_text_block(
        self,
        label: str,
        pieces: list[Piece],
        num_lines: int,
        leading: int,
        x: int,
        lines: list[str],
        font: ImageFont.FreeTypeFont,
    ) -> None:
        """Record a block whose lines have been drawn, and move the pen below it."""
        top = self.y
        self.y += leading * (num_lines - 1) + round(1.05 * font.size)
        self.add_block(
            label, pieces, (x, top, x + max(map(font.getlength, lines)), self.y)
        )


def random_ink(rng: random.Random) -> tuple[int, int, int]:
    """Return a random colour that is dark enough for any paper."""
    if rng.random() < 0.6:
        grey = rng.randint(0, 60)
        return (grey, grey, grey)
    return rng.randint(0, 110), rng.randint(0, 110), rng.randint(0, 110)
