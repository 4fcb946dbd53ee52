"""Renderer of synthetic pages with a complete ground truth.

A page is drawn block by block in one column, and the centre of each character is
recorded. The answer in Chandra's markup, the boxes, and the position of each token of
the answer are derived from that.
"""

from __future__ import annotations

import functools
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
from mini.fonts import Family, supported_characters
from mini.pen import Domain, Pen, random_ink
from mini.scans import degrade, rotate_page
from mini.truth import RenderedPage
from mini.writers import AsciiWriter, LatinWriter, Writer

__all__ = ["Domain", "RenderedPage", "render_page"]


def render_page(rng: random.Random, domain: Domain) -> RenderedPage:
    """Render a page of the domain; the same state of `rng` gives the same page."""
    width, height = rng.randint(*domain.widths), rng.randint(*domain.heights)
    paper = _random_paper(rng)
    wide = 24 if domain.is_dense else 8
    margin = rng.randint(width // 32, width // wide)
    image = Image.new("RGB", (width, height), paper)
    family = rng.choice(domain.families)
    pen = Pen(
        rng=rng,
        domain=domain,
        draw=Canvas(image),
        family=family,
        writer=_choose_writer(family, is_latin=domain.is_latin),
        size=round(
            domain.sizes[0] + (domain.sizes[1] - domain.sizes[0]) * rng.random() ** 1.3
        ),
        paper=paper,
        ink=random_ink(rng),
        left=margin,
        right=width - rng.randint(width // 32, width // wide),
        y=rng.randint(height // 40, height // 10),
        bottom=height - rng.randint(height // 40, height // 12),
    )
    if domain.two_columns and rng.random() < domain.two_columns:
        _fill_two_columns(pen)
    else:
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
    share = 0.0 if pen.domain.is_dense else 0.35
    footer = make_margin_line(pen, "Page-Footer") if rng.random() < share else None
    if rng.random() < share:
        header = make_margin_line(pen, "Page-Header")
        pen.y = place_line(pen, header, pen.y)
    if footer:
        pen.bottom -= round(2.2 * footer[1].size)
    _fill_column(pen)
    if footer:
        place_line(pen, footer, pen.bottom + round(1.1 * footer[1].size))


def _fill_two_columns(pen: Pen) -> None:
    """Fill the left half of the page, then the right half."""
    left, right, top = pen.left, pen.right, pen.y
    gap = round(pen.size * pen.rng.uniform(1.0, 2.5))
    middle = (left + right) // 2
    for pen.left, pen.right in ((left, middle - gap // 2), (middle + gap // 2, right)):
        pen.y = top
        _fill_column(pen)


def _fill_column(pen: Pen) -> None:
    rng = pen.rng
    num_blocks = len(pen.blocks)
    num_blocks += rng.randint(pen.domain.min_blocks, pen.domain.max_blocks)
    while (
        len(pen.blocks) < num_blocks and pen.num_characters < pen.domain.max_characters
    ):
        kind = rng.choices(
            (draw_text, draw_heading, draw_list, draw_table, draw_figure),
            (80, 6, 6, 7, 1) if pen.domain.is_dense else (45, 22, 13, 12, 8),
        )[0]
        if not kind(pen):
            break
        # A gap larger than the leading separates paragraphs visibly.
        most = 1.3 if pen.domain.is_dense else 1.8
        pen.y += round(pen.size * rng.uniform(1.0, most))
        if rng.random() < 0.06:
            draw_rule(pen)


def _random_paper(rng: random.Random) -> tuple[int, int, int]:
    if rng.random() < 0.5:
        return (255, 255, 255)
    low = rng.randint(225, 250)
    return rng.randint(low, 255), rng.randint(low, 255), rng.randint(low, 255)


@functools.cache
def _choose_writer(family: Family, *, is_latin: bool) -> Writer:
    if is_latin:
        return LatinWriter(supported_characters(family))
    return AsciiWriter()
