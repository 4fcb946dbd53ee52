"""Renderer of synthetic pages with a complete ground truth.

A page is drawn block by block in one column, and the centre of each character is
recorded. The answer in Chandra's markup, the boxes, and the position of each token of
the answer are derived from that.
"""

from __future__ import annotations

import random

from PIL import Image

from mini.blocks import (
    draw_figure,
    draw_heading,
    draw_list,
    draw_rule,
    draw_table,
    draw_text,
    make_margin_line,
    place_line,
)
from mini.canvas import Canvas
from mini.pen import Domain, Pen, random_ink
from mini.scans import degrade, rotate_page
from mini.truth import RenderedPage

__all__ = ["Domain", "RenderedPage", "render_page"]


def render_page(rng: random.Random, domain: Domain) -> RenderedPage:
    """Render a page of the domain; the same state of `rng` gives the same page."""
    width, height = rng.randint(*domain.widths), rng.randint(*domain.heights)
    paper = _random_paper(rng)
    margin = rng.randint(width // 32, width // 8)
    image = Image.new("RGB", (width, height), paper)
    pen = Pen(
        rng=rng,
        domain=domain,
        draw=Canvas(image),
        family=rng.choice(domain.families),
        size=round(
            domain.sizes[0] + (domain.sizes[1] - domain.sizes[0]) * rng.random() ** 1.3
        ),
        paper=paper,
        ink=random_ink(rng),
        left=margin,
        right=width - rng.randint(width // 32, width // 8),
        y=rng.randint(height // 40, height // 10),
        bottom=height - rng.randint(height // 40, height // 12),
    )
    _fill_page(pen)
    page = RenderedPage(image, pen.blocks, paper, pen.draw.marks)
    if rng.random() >= domain.clean:
        page = rotate_page(rng, page, domain.max_degrees, paper)
        page.image = degrade(rng, page.image)
        page.marks = []
    return page


def _fill_page(pen: Pen) -> None:
    """Draw random blocks until the page is full or a limit of the domain is reached."""
    rng = pen.rng
    footer = make_margin_line(pen, "Page-Footer") if rng.random() < 0.35 else None
    if rng.random() < 0.35:
        header = make_margin_line(pen, "Page-Header")
        pen.y = place_line(pen, header, pen.y)
    if footer:
        pen.bottom -= round(2.2 * footer[1].size)
    num_blocks = rng.randint(pen.domain.min_blocks, pen.domain.max_blocks)
    while (
        len(pen.blocks) < num_blocks and pen.num_characters < pen.domain.max_characters
    ):
        kind = rng.choices(
            (draw_text, draw_heading, draw_list, draw_table, draw_figure),
            (45, 22, 13, 12, 8),
        )[0]
        if not kind(pen):
            break
        # A gap larger than the leading separates paragraphs visibly.
        pen.y += round(pen.size * rng.uniform(1.0, 1.8))
        if rng.random() < 0.06:
            draw_rule(pen)
    if footer:
        place_line(pen, footer, pen.bottom + round(1.1 * footer[1].size))


def _random_paper(rng: random.Random) -> tuple[int, int, int]:
    if rng.random() < 0.5:
        return (255, 255, 255)
    low = rng.randint(225, 250)
    return rng.randint(low, 255), rng.randint(low, 255), rng.randint(low, 255)
