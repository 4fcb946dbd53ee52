"""Blocks of a synthetic page.

Each `draw_*` function draws one block, records its text and box in the pen, and moves
the pen below it. It returns False if the page has no room.
"""

from __future__ import annotations

import math
import random

from PIL import ImageFont

from mini.fonts import load_font
from mini.pen import Pen, random_ink
from mini.truth import Piece
from mini.words import random_number, random_sentence, random_words

__all__ = [
    "MarginLine",
    "draw_figure",
    "draw_heading",
    "draw_list",
    "draw_rule",
    "draw_table",
    "draw_text",
    "make_margin_line",
    "place_line",
]


def draw_text(pen: Pen) -> bool:
    """Draw a paragraph; return False and draw nothing if the page has no room."""
    rng = pen.rng
    font = load_font(pen.family, pen.size)
    indent = rng.choice((0, 0, 0, pen.size))
    lines = pen.wrap_text(
        random_sentence(rng, rng.randint(2, 24)), font, pen.left + indent
    )
    leading = pen.compute_leading(rng.uniform(1.15, 1.6))
    lines = lines[: pen.count_free_lines(leading)]
    if not lines:
        return False
    pieces = [
        Piece("<p>"),
        *pen.draw_paragraph(lines, pen.left + indent, leading, font),
    ]
    pieces.append(Piece("</p>"))
    pen.add_text_block(
        "Text", pieces, len(lines), leading, pen.left + indent, lines, font
    )
    return True


def draw_heading(pen: Pen) -> bool:
    """Draw a heading of one line; return False and draw nothing if there is no room."""
    rng = pen.rng
    size = min(pen.domain.sizes[1], round(pen.size * rng.uniform(1.2, 1.8)))
    if pen.family.bold is None:
        # A heading without a bold face must be larger than text to be recognisable.
        size = max(size, round(pen.size * 1.25))
    font = load_font(pen.family, size, bold=True)
    leading = round(size * 1.3)
    lines = pen.wrap_text(random_sentence(rng, rng.randint(1, 5)), font, pen.left)[:1]
    if not pen.count_free_lines(leading) or not lines:
        return False
    ink = random_ink(rng) if rng.random() < 0.4 else pen.ink
    x = pen.left
    if rng.random() < 0.2:
        x = round((pen.left + pen.right - font.getlength(lines[0])) / 2)
    pieces = [
        Piece("<h2>"),
        *pen.draw_line(lines[0], x, pen.y + round(0.8 * size), font, ink),
    ]
    pieces.append(Piece("</h2>"))
    pen.add_text_block("Section-Header", pieces, 1, leading, x, lines, font)
    return True


def draw_list(pen: Pen) -> bool:
    """Draw a list of up to five items, as many as fit; return False if none does."""
    rng = pen.rng
    font = load_font(pen.family, pen.size)
    is_numbered = rng.random() < 0.35
    indent = round(pen.size * rng.uniform(1.4, 2.2))
    leading = pen.compute_leading(rng.uniform(1.2, 1.6))
    tag = "ol" if is_numbered else "ul"
    bullet = rng.choice("•-*")
    pieces = [Piece(f"<{tag}>")]
    top, drawn = pen.y, []
    for position in range(1, rng.randint(2, 5) + 1):
        lines = pen.wrap_text(
            random_sentence(rng, rng.randint(1, 9)), font, pen.left + indent
        )
        lines = lines[:2]
        if not lines or pen.count_free_lines(leading) < len(lines):
            break
        mark = f"{position}." if is_numbered else bullet
        pen.draw.text(
            (pen.left, pen.y + round(0.8 * pen.size)),
            mark,
            font=font,
            fill=pen.ink,
        )
        pieces.append(Piece("<li>"))
        pieces += pen.draw_paragraph(lines, pen.left + indent, leading, font)
        pieces.append(Piece("</li>"))
        drawn += lines
        pen.y += leading * len(lines)
    if not drawn:
        return False
    pieces.append(Piece(f"</{tag}>"))
    right = pen.left + indent + max(map(font.getlength, drawn))
    pen.y -= leading - round(1.05 * pen.size)
    pen.add_block("List-Group", pieces, (pen.left, top, right, pen.y))
    return True


def draw_table(pen: Pen) -> bool:
    """Draw a table with a header; return False and draw nothing if it is too large."""
    rng = pen.rng
    font, bold = (
        load_font(pen.family, pen.size),
        load_font(pen.family, pen.size, bold=True),
    )
    num_columns, num_rows = rng.randint(2, 4), rng.randint(2, 5)
    height = pen.compute_leading(rng.uniform(1.4, 2.0))
    if (pen.bottom - pen.y) < height * num_rows:
        return False
    pad = round(pen.size * 0.5)
    grid = [
        [_random_cell_text(rng, header=row == 0) for _ in range(num_columns)]
        for row in range(num_rows)
    ]
    widths = [
        2 * pad + math.ceil(max(bold.getlength(row[column]) for row in grid))
        for column in range(num_columns)
    ]
    while len(widths) > 1 and sum(widths) > pen.right - pen.left:
        widths.pop()
        grid = [row[:-1] for row in grid]
    slack = max(0, pen.right - pen.left - sum(widths))
    extra = round(rng.random() * slack / len(widths))
    widths = [width + extra for width in widths]
    if sum(widths) > pen.right - pen.left:
        return False
    top, x_end = pen.y, pen.left + sum(widths)
    style = rng.choice(("grid", "rows", "header", "none"))
    if style == "header" or rng.random() < 0.2:
        shade = tuple(max(0, channel - 18) for channel in pen.paper)
        pen.draw.rectangle((pen.left, top, x_end, top + height), fill=shade)
    # Columns of numbers are often right-aligned, with their header.
    first_right = rng.choice((0, 1, num_columns, num_columns))
    rule = pen.ink if rng.random() < 0.6 else (rng.randint(150, 220),) * 3
    pieces = [Piece("<table>")]
    for row, cells in enumerate(grid):
        face = bold if row == 0 else font
        tag = "th" if row == 0 else "td"
        pieces.append(Piece("<tr>"))
        x = pen.left
        for column, (text, width) in enumerate(zip(cells, widths, strict=True)):
            start: float = x + pad
            if column >= first_right:
                start = x + width - pad - face.getlength(text)
            pieces.append(Piece(f"<{tag}>"))
            pieces += pen.draw_line(
                text, start, pen.y + height / 2 + 0.33 * pen.size, face
            )
            pieces.append(Piece(f"</{tag}>"))
            x += width
        pieces.append(Piece("</tr>"))
        pen.y += height
        if style in ("grid", "rows"):
            pen.draw.line((pen.left, pen.y, x_end, pen.y), fill=rule)
    if style == "grid":
        x = pen.left
        for width in [0, *widths]:
            x += width
            pen.draw.line((x, top, x, pen.y), fill=rule)
        pen.draw.line((pen.left, top, x_end, top), fill=rule)
    pieces.append(Piece("</table>"))
    pen.add_block("Table", pieces, (pen.left, top, x_end, pen.y))
    return True


def draw_figure(pen: Pen) -> bool:
    """Draw a chart or picture; return False and draw nothing if it is too high."""
    rng = pen.rng
    height = rng.randint(56, 150)
    if pen.bottom - pen.y < height:
        return False
    width = rng.randint(96, max(97, pen.right - pen.left))
    x0, y0 = pen.left + rng.randint(0, max(0, pen.right - pen.left - width)), pen.y
    x1, y1 = min(x0 + width, pen.right), y0 + height
    draw, colour = pen.draw, random_ink(rng)
    kind = rng.choice(("bar chart", "line chart", "picture"))
    draw.rectangle((x0, y0, x1, y1), outline=pen.ink)
    count = rng.randint(4, 9)
    step = (x1 - x0) / count
    levels = [rng.uniform(0.1, 0.9) * height for _ in range(count)]
    if kind == "bar chart":
        for index, level in enumerate(levels):
            left = x0 + step * (index + 0.2)
            draw.rectangle((left, y1 - level, left + 0.6 * step, y1), fill=colour)
    elif kind == "line chart":
        points = [
            coordinate
            for index, level in enumerate(levels)
            for coordinate in (x0 + step * (index + 0.5), y1 - level)
        ]
        draw.line(points, fill=colour, width=rng.randint(1, 3))
    else:
        sky = tuple(rng.randint(120, 220) for _ in range(3))
        draw.rectangle((x0, y0, x1, y1), fill=sky)
        for _ in range(rng.randint(2, 5)):
            radius = rng.randint(8, height // 3)
            x, y = (
                rng.randint(x0 + radius, max(x0 + radius, x1 - radius)),
                rng.randint(y0 + radius, y1 - radius),
            )
            draw.ellipse(
                (x - radius, y - radius, min(x + radius, x1), y + radius),
                fill=tuple(rng.randint(0, 255) for _ in range(3)),
            )
    centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    pieces = [Piece('<img alt="'), *(Piece(c, centre) for c in kind), Piece('"/>')]
    pen.y = y1
    pen.add_block("Figure", pieces, (x0, y0, x1, y1))
    return True


def draw_rule(pen: Pen) -> None:
    """Draw a horizontal line across the column, and move the pen below it."""
    pen.draw.line(
        (pen.left, pen.y, pen.right, pen.y), fill=pen.ink, width=pen.rng.randint(1, 2)
    )
    pen.y += round(pen.size * 0.8)


MarginLine = tuple[str, ImageFont.FreeTypeFont, str]


def make_margin_line(pen: Pen, label: str) -> MarginLine:
    """Return a random text for a page header or footer, with its font and label.

    `label` is "Page-Header" or "Page-Footer". Nothing is drawn.
    """
    rng = pen.rng
    size = max(pen.domain.sizes[0], round(pen.size * rng.uniform(0.7, 0.95)))
    font = load_font(pen.family, size)
    text = (
        rng.choice(
            (
                f"Page {rng.randint(1, 999)}",
                str(rng.randint(1, 999)),
                f"{rng.randint(1, 99)} / {rng.randint(1, 99)}",
                " ".join(random_words(rng, rng.randint(1, 4))),
            )
        )
        if label == "Page-Footer"
        else " ".join(random_words(rng, rng.randint(1, 5)))
    )
    lines = pen.wrap_text(text, font, pen.left)
    return lines[0] if lines else "1", font, label


def place_line(pen: Pen, line: MarginLine, y: int) -> int:
    """Draw a page header or footer at `y`; return the y where text below may begin."""
    text, font, label = line
    slack = pen.right - pen.left - font.getlength(text)
    x = round(pen.left + slack * pen.rng.choice((0, 0.5, 1)))
    ink = tuple(min(130, channel + 50) for channel in pen.ink)
    pieces = pen.draw_line(text, x, y + round(0.8 * font.size), font, ink)  # type: ignore[arg-type]
    pen.add_block(
        label, pieces, (x, y, x + font.getlength(text), y + round(1.05 * font.size))
    )
    return y + round(font.size * pen.rng.uniform(1.8, 3))


def _random_cell_text(rng: random.Random, *, header: bool) -> str:
    if header or rng.random() < 0.35:
        return " ".join(random_words(rng, rng.randint(1, 2)))[:14].strip()
    return random_number(rng)
