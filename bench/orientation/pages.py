"""Renderer of pages of many layouts and scripts.

`render_text` draws upright pages, which are the same for the same random generator.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from bench.orientation.figures import render_figure
from bench.orientation.scripts import find_fonts, load_font, random_line

__all__ = [
    "LAYOUTS",
    "degrade",
    "render_small_print",
    "render_text",
    "render_vertical",
]

DPI = 150
_DENSE = ("chinese", "japanese", "korean")


class _Pen:
    """Pen for lines of one script in one font."""

    def __init__(
        self, rng: random.Random, script: str, folders: Sequence[Path], points: float
    ) -> None:
        self.rng, self.script = rng, script
        self.font_path = rng.choice(find_fonts(script, folders))
        self.size = max(8, round(points * DPI / 72))
        paper = rng.choice([255, 255, rng.randint(225, 254)])
        self.ink = rng.choice([0, 0, rng.randint(0, 90)])
        short, long = round(8.27 * DPI), round(11.69 * DPI)
        if rng.random() < 0.2:
            short, long = long, short
        if rng.random() < 0.15:
            short, long = (
                round(rng.uniform(3, 8) * DPI),
                round(rng.uniform(4, 11) * DPI),
            )
        self.image = Image.new("L", (short, long), paper)
        self.draw = ImageDraw.Draw(self.image)
        self.margin = round(rng.uniform(0.4, 1.1) * DPI)
        self.leading = rng.uniform(1.15, 1.9)

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height

    def draw_line(self, x: float, y: float, width: float, scale: float = 1.0) -> float:
        """Draw a line of at most `width` pixels at (x, y); return its height."""
        size = max(8, round(self.size * scale))
        font = load_font(self.font_path, size)
        advance = size * (1.0 if self.script in _DENSE else 0.5)
        text = random_line(self.rng, self.script, max(1, int(width / advance)))
        while len(text) > 1 and font.getlength(text) > width:
            text = text[: max(1, int(len(text) * 0.94))]
        self.draw.text((x, y), text.strip(), fill=self.ink, font=font)
        return size * self.leading

    def draw_rule(self, box: Sequence[float], width: int = 1) -> None:
        self.draw.line(list(box), fill=self.ink, width=width)


def _draw_column(
    pen: _Pen, left: float, right: float, top: float, bottom: float
) -> None:
    """Draw paragraphs, some with a heading, between these edges."""
    y, rng = top, pen.rng
    left_in_paragraph = 0
    while y + pen.size * pen.leading < bottom:
        if left_in_paragraph == 0:
            left_in_paragraph = rng.randint(1, 9)
            y += pen.size * rng.choice([0, 0.5, 1.0])
            if rng.random() < 0.15:
                y += pen.draw_line(left, y, (right - left) * 0.6, rng.uniform(1.1, 1.8))
        width = right - left
        if left_in_paragraph == 1:
            width *= rng.uniform(0.2, 1)
        y += pen.draw_line(left, y, width)
        left_in_paragraph -= 1


def _draw_prose(pen: _Pen) -> None:
    bottom = pen.height * pen.rng.choice([0.35, 0.6, 0.95, 0.95])
    _draw_column(pen, pen.margin, pen.width - pen.margin, pen.margin, bottom)


def _draw_two_columns(pen: _Pen) -> None:
    middle, gap = pen.width / 2, pen.size
    for left, right in (
        (pen.margin, middle - gap),
        (middle + gap, pen.width - pen.margin),
    ):
        _draw_column(pen, left, right, pen.margin, pen.height - pen.margin)


def _draw_table(pen: _Pen) -> None:
    rng = pen.rng
    num_columns = rng.randint(2, 6)
    step = (pen.width - 2 * pen.margin) / num_columns
    y = (
        pen.margin
        + pen.draw_line(pen.margin, pen.margin, step * num_columns, 1.4) * 1.5
    )
    has_rules, row_height = rng.random() < 0.7, pen.size * pen.leading * 1.2
    bottom = pen.height * rng.choice([0.4, 0.9])
    first = y
    while y + row_height < bottom:
        for column in range(num_columns):
            script = pen.script
            if column and rng.random() < 0.7:
                pen.script = "digits"
            if rng.random() < 0.9:
                x = pen.margin + column * step + pen.size * 0.3
                pen.draw_line(x, y, step * rng.uniform(0.3, 0.85))
            pen.script = script
        if has_rules:
            pen.draw_rule((pen.margin, y - 2, pen.width - pen.margin, y - 2))
        y += row_height
    if has_rules:
        for column in range(num_columns + 1):
            x = pen.margin + column * step
            pen.draw_rule((x, first, x, y))


def _draw_form(pen: _Pen) -> None:
    y = float(pen.margin)
    while y < pen.height - 2 * pen.margin:
        label_width = pen.width * pen.rng.uniform(0.15, 0.3)
        pen.draw_line(pen.margin, y, label_width, 0.9)
        left = pen.margin + label_width + 10
        box = (left, y - 3, max(left + 10, pen.width - pen.margin))
        pen.draw.rectangle((*box, y + pen.size * 1.4), outline=pen.ink)
        if pen.rng.random() < 0.6:
            pen.draw_line(box[0] + 6, y, pen.width * pen.rng.uniform(0.1, 0.3))
        y += pen.size * pen.rng.uniform(1.8, 3)


def _draw_receipt(pen: _Pen) -> None:
    y = float(pen.margin)
    while y < pen.height - pen.margin:
        y += pen.draw_line(pen.margin, y, pen.width * 0.45)
        script, pen.script = pen.script, "digits"
        pen.draw_line(pen.width * 0.75, y - pen.size * pen.leading, pen.width * 0.15)
        pen.script = script
        if pen.rng.random() < 0.06:
            pen.draw_rule((pen.margin, y, pen.width - pen.margin, y))
            y += pen.size


def _draw_code(pen: _Pen) -> None:
    y, indent = float(pen.margin), 0
    while y < pen.height - pen.margin:
        indent = max(0, min(6, indent + pen.rng.choice([-1, 0, 0, 1])))
        x = pen.margin + indent * 2 * pen.size
        room = pen.width - pen.margin - x
        if pen.rng.random() < 0.88:
            pen.draw_line(x, y, room * pen.rng.uniform(0.15, 0.8))
        y += pen.size * pen.leading


def _draw_title(pen: _Pen) -> None:
    y = pen.height * pen.rng.uniform(0.15, 0.4)
    for scale in (pen.rng.uniform(2, 3.5), 1.6, 1.2, 1.0)[: pen.rng.randint(2, 4)]:
        width = pen.width * pen.rng.uniform(0.4, 0.7)
        y += pen.draw_line((pen.width - width) / 2, y, width, scale) * 1.3


def _draw_list(pen: _Pen) -> None:
    y = float(pen.margin)
    while y < pen.height - pen.margin:
        radius = pen.size / 6
        centre = y + pen.size * 0.6
        x = pen.margin
        pen.draw.ellipse(
            (x, centre - radius, x + 2 * radius, centre + radius), fill=pen.ink
        )
        for _ in range(pen.rng.randint(1, 3)):
            width = (pen.width - 2 * pen.margin) * pen.rng.uniform(0.3, 0.95)
            y += pen.draw_line(x + pen.size * 1.2, y, width)
        y += pen.size * 0.4


def _draw_text_with_figure(pen: _Pen) -> None:
    top = pen.height * pen.rng.uniform(0.3, 0.5)
    figure = render_figure(pen.rng, pen.rng.choice(["photo", "chart", "drawing"]))
    size = (pen.width - 2 * pen.margin, round(pen.height * 0.3))
    _draw_column(pen, pen.margin, pen.width - pen.margin, pen.margin, top)
    pen.image.paste(figure.resize(size), (pen.margin, round(top + pen.size)))
    below = top + size[1] + 2 * pen.size
    _draw_column(
        pen, pen.margin, pen.width - pen.margin, below, pen.height - pen.margin
    )


LAYOUTS: dict[str, Callable[[_Pen], None]] = {
    "prose": _draw_prose,
    "two_columns": _draw_two_columns,
    "table": _draw_table,
    "form": _draw_form,
    "receipt": _draw_receipt,
    "code": _draw_code,
    "title": _draw_title,
    "list": _draw_list,
    "with_figure": _draw_text_with_figure,
}


def render_text(
    rng: random.Random, layout: str, script: str, folders: Sequence[Path] = ()
) -> Image.Image:
    """Return an upright gray page of one layout and script, without degradation."""
    pen = _Pen(rng, script, folders, points=rng.uniform(7, 14))
    LAYOUTS[layout](pen)
    return pen.image


def render_small_print(
    rng: random.Random,
    size: tuple[int, int],
    num_columns: int,
    points: int,
    is_prose: bool,
) -> Image.Image:
    """Return an upright gray page of Latin lines of `points` pixels in columns.

    Prose fills each column; otherwise lines are short entries that resemble each other.
    """
    image = Image.new("L", size, 255)
    draw = ImageDraw.Draw(image)
    font = load_font(rng.choice(find_fonts("latin", ())), points)
    step = size[0] // num_columns
    tops = range(4 * points, size[1] - 4 * points, round(1.6 * points))
    for row, y in enumerate(tops):
        for column in range(num_columns):
            text = f"Line {row} total {37 * row} harbour"
            if is_prose:
                text = random_line(rng, "latin", 2 * step // points)
            while font.getlength(text) > step - 3 * points:
                text = text[:-2]
            draw.text((2 * points + column * step, y), text, fill=0, font=font)
    return image


def render_vertical(
    rng: random.Random, script: str, folders: Sequence[Path] = ()
) -> Image.Image:
    """Return a page with vertical columns from right to left, as in Japanese novels."""
    pen = _Pen(rng, script, folders, points=rng.uniform(8, 14))
    font = load_font(pen.font_path, pen.size)
    x = pen.width - pen.margin - pen.size
    while x > pen.margin:
        y, end = pen.margin, pen.height - pen.margin
        if rng.random() < 0.15:
            end = round(pen.height * rng.uniform(0.2, 0.8))
        for letter in random_line(rng, script, max(1, int((end - y) / pen.size))):
            pen.draw.text((x, y), letter, fill=pen.ink, font=font)
            y += pen.size
        x -= round(pen.size * pen.leading)
    return pen.image


def degrade(rng: random.Random, image: Image.Image) -> Image.Image:
    """Return the page with a rotation of up to 3 degrees, noise and JPEG artifacts."""
    paper = image.getpixel((0, 0))
    if rng.random() < 0.5:
        degrees = rng.uniform(-3, 3)
        image = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=paper)
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.5:
        seed = np.random.default_rng(rng.getrandbits(32))
        noise = seed.normal(0, rng.uniform(1, 14), (image.height, image.width))
        pixels = np.asarray(image, np.float32) + noise
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        black, white = rng.randint(0, 120), rng.randint(170, 255)
        image = image.point([black + v * (white - black) // 255 for v in range(256)])
    if rng.random() < 0.1:
        image = image.point([255 * (v > 150) for v in range(256)])
    if rng.random() < 0.4:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=rng.randint(30, 92))
        image = Image.open(stream).convert("L")
    return image
