"""Renderer of content that must not be taken for text.

It draws photographs, charts, drawings, bar codes and invented signs, which are the same
for the same random generator.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["FIGURES", "render_figure", "square_signs"]


def square_signs(rng: random.Random, size: int, cell: int) -> Image.Image:
    """Return a page of invented square signs without orientation, in columns."""
    image = Image.new("L", (size, round(size * 1.4)), 255)
    draw = ImageDraw.Draw(image)
    for x in range(size - 2 * cell, cell, -round(cell * 1.6)):
        for y in range(cell, image.height - 2 * cell, cell):
            for _ in range(rng.randint(3, 8)):
                a, b, c = (rng.randint(1, cell - 2) for _ in range(3))
                stroke = rng.choice([(a, b, c, b), (a, b, a, c), (a, b, c, c)])
                ends = [x + stroke[0], y + stroke[1], x + stroke[2], y + stroke[3]]
                draw.line(ends, fill=0, width=max(1, cell // 12))
    return image


def _draw_photo(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return an image like a photograph: noise of several scales, with shapes."""
    seed = np.random.default_rng(rng.getrandbits(32))
    image = Image.new("L", size, 128)
    field = np.zeros((size[1], size[0]), np.float32)
    octave, weight = 4, 1.0
    while octave < max(size):
        noise = seed.normal(0, 1, (octave, octave)).astype(np.float32)
        field += weight * np.asarray(Image.fromarray(noise).resize(size, 3))
        octave, weight = octave * 2, weight * rng.uniform(0.4, 0.9)
    field = (field - field.mean()) / (field.std() + 1e-6)
    image = Image.fromarray((128 + 60 * field).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(0, 25)):
        _draw_random_shape(rng, draw, size, fill=rng.randint(0, 255))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))


def _draw_random_shape(
    rng: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], fill: int
) -> None:
    x, y = rng.randint(0, size[0]), rng.randint(0, size[1])
    extent = rng.randint(5, max(6, min(size) // 3))
    box = (x, y, x + rng.randint(2, extent), y + rng.randint(2, extent))
    kind = rng.randint(0, 4)
    width = rng.randint(1, 5)
    if kind == 0:
        draw.rectangle(box, fill=fill)
    elif kind == 1:
        draw.ellipse(box, outline=fill, width=width)
    elif kind == 2:
        draw.line(box, fill=fill, width=width)
    elif kind == 3:
        draw.arc(box, rng.randint(0, 360), rng.randint(0, 360), fill=fill, width=width)
    else:
        corners = [
            (rng.randint(x, x + extent), rng.randint(y, y + extent)) for _ in "abc"
        ]
        draw.polygon(corners, outline=fill)


def _draw_chart(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    image = Image.new("L", size, 255)
    draw = ImageDraw.Draw(image)
    width, height = size
    draw.line((60, 20, 60, height - 40, width - 20, height - 40), fill=0, width=2)
    num = rng.randint(4, 40)
    heights = [rng.uniform(0.1, 0.9) for _ in range(num)]
    step = (width - 100) / num
    kind = rng.random()
    tops = [
        (70 + i * step, height - 40 - h * (height - 80)) for i, h in enumerate(heights)
    ]
    if kind < 0.4:
        for x, y in tops:
            fill = rng.randint(0, 220)
            draw.rectangle((x, y, x + step * 0.7, height - 40), fill=fill)
    elif kind < 0.7:
        draw.line(tops, fill=rng.randint(0, 120), width=rng.randint(1, 4))
    else:
        for x, y in tops * 4:
            r, dy = rng.randint(1, 6), rng.randint(-60, 60)
            draw.ellipse((x, y + dy, x + r, y + dy + r), outline=0)
    for i in range(rng.randint(0, 12)):
        y = 20 + i * height / 12
        draw.line((60, y, width - 20, y), fill=rng.randint(100, 230))
    return image


def _draw_shapes(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    image = Image.new("L", size, 255)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(10, 300)):
        _draw_random_shape(rng, draw, size, fill=rng.randint(0, 120))
    return image


def _draw_bar_code(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return a random one- or two-dimensional bar code, upright or on its side."""
    seed = np.random.default_rng(rng.getrandbits(32))
    module = rng.randint(2, 12)
    shape = (-(-size[1] // module), -(-size[0] // module))
    if rng.random() < 0.5:
        cells = seed.integers(0, 2, shape)
    else:
        cells = np.broadcast_to(seed.integers(0, 2, (1, shape[1])), shape)
    pixels = np.kron(255 * cells, np.ones((module, module)))[: size[1], : size[0]]
    image = Image.fromarray(pixels.astype(np.uint8))
    return image.rotate(rng.choice([0, 90]), expand=True)


def _draw_waves(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    angle, period = rng.uniform(0, math.pi), rng.uniform(3, 30)
    phase = (x * math.cos(angle) + y * math.sin(angle)) / period
    bent = np.sin(2 * math.pi * phase + 3 * np.sin(x / rng.uniform(20, 200)))
    return Image.fromarray((128 + rng.randint(20, 127) * bent).astype(np.uint8))


def _draw_signs(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    return square_signs(rng, size[0], rng.randint(10, 40))


FIGURES: dict[str, Callable[[random.Random, tuple[int, int]], Image.Image]] = {
    "photo": _draw_photo,
    "chart": _draw_chart,
    "drawing": _draw_shapes,
    "bars": _draw_bar_code,
    "waves": _draw_waves,
    "signs": _draw_signs,
}


def render_figure(
    rng: random.Random, kind: str, size: tuple[int, int] = (1000, 1400)
) -> Image.Image:
    """Return a gray page with a picture and no text."""
    return FIGURES[kind](rng, size)
