"""Scanner effects: rotation, blur, noise and compression."""

from __future__ import annotations

import io
import math
import random

import numpy as np
from PIL import Image, ImageFilter

from mini.truth import Piece, Point, RenderedBlock, RenderedPage

__all__ = ["degrade", "rotate_page"]


def rotate_page(
    rng: random.Random,
    page: RenderedPage,
    max_degrees: float,
    paper: tuple[int, int, int],
) -> RenderedPage:
    """Return a page rotated by a small angle, with its letters and boxes.

    Half of the pages are returned unchanged.
    """
    degrees = rng.uniform(-max_degrees, max_degrees) if rng.random() < 0.5 else 0.0
    if not degrees:
        return page
    width, height = page.image.size
    centre_x, centre_y = width / 2, height / 2
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def rotate_point(point: Point) -> Point:
        x, y = point[0] - centre_x, point[1] - centre_y
        return centre_x + cosine * x + sine * y, centre_y - sine * x + cosine * y

    blocks = []
    for block in page.blocks:
        x0, y0, x1, y1 = block.bbox
        corners = [
            rotate_point(point) for point in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        ]
        xs, ys = zip(*corners, strict=True)
        bbox = (
            max(0, min(xs)),
            max(0, min(ys)),
            min(width, max(xs)),
            min(height, max(ys)),
        )
        pieces = [
            Piece(piece.text, piece.place and rotate_point(piece.place))
            for piece in block.pieces
        ]
        blocks.append(RenderedBlock(block.label, bbox, pieces))
    image = page.image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=paper)
    return RenderedPage(image, blocks)


def degrade(rng: random.Random, image: Image.Image) -> Image.Image:
    """Return the image with blur, noise and JPEG artifacts, each applied at random."""
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7)))
    if rng.random() < 0.5:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(
            0, rng.uniform(1, 12), (image.height, image.width, 1)
        )
        pixels = np.asarray(image, dtype=np.float32) + noise
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(35, 95))
        image = Image.open(buffer).convert("RGB")
    return image
