"""Synthetic pages whose every letter is known: the ground truth of reading.

A page is drawn block by block in one column, and each character is remembered with
its centre. From that come the answer in Chandra's markup, the boxes, and the place
on the page of everything the answer says.
"""

from __future__ import annotations

import html
import io
import math
import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter, ImageFont

from mini.canvas import Canvas, Mark
from mini.fonts import FAMILIES, Family, advance, load
from mini.words import number, sentence, words

__all__ = [
    "BBOX_SCALE",
    "BBOX_STEP",
    "Block",
    "Domain",
    "Page",
    "Piece",
    "Point",
    "render_page",
]

BBOX_SCALE = 1024
BBOX_STEP = 4
"""An answer's boxes stand on multiples of it: two or three pixels of a page."""

Point = tuple[float, float]
"""x and y in pixels of the page."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some characters of the answer, and where each stands on the page.

    Markup stands nowhere: its place is None.
    """

    text: str
    place: Point | None = None


@dataclass(slots=True)
class Block:
    """One div of the answer."""

    label: str
    bbox: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the page."""
    pieces: list[Piece]

    @property
    def html(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@dataclass(slots=True)
class Page:
    """An image and what a perfect reader answers."""

    image: Image.Image
    blocks: list[Block]
    paper: tuple[int, int, int] = (255, 255, 255)
    marks: list[Mark] = field(default_factory=list)
    """What was drawn; nothing where the page was turned or degraded afterwards."""

    def answer(self) -> list[Piece]:
        """The whole answer, piece by piece."""
        pieces: list[Piece] = []
        for block in self.blocks:
            pieces += self._opening(block)
            pieces += block.pieces
            pieces.append(Piece("</div>"))
        return pieces

    @property
    def html(self) -> str:
        return "".join(piece.text for piece in self.answer())

    def _opening(self, block: Block) -> list[Piece]:
        pieces = [Piece('<div data-bbox="[')]
        # Read where the block begins: what is seen there knows how far it reaches.
        place = next(piece.place for piece in block.pieces if piece.place)
        for index, edge in enumerate(block.bbox):
            steps = round(edge / self.image.size[index % 2] * BBOX_SCALE / BBOX_STEP)
            scaled = min(BBOX_SCALE, max(0, steps * BBOX_STEP))
            pieces.append(Piece(str(scaled), place))
            pieces.append(
                Piece(", " if index < 3 else f']" data-label="{block.label}">')
            )
        return pieces


@dataclass(frozen=True, slots=True)
class Domain:
    """What kinds of pages there are."""

    widths: tuple[int, int] = (512, 544)
    heights: tuple[int, int] = (640, 672)
    sizes: tuple[int, int] = (22, 28)
    """Letters, in pixels an em."""
    min_leading: int = 33
    """From line to line, in pixels. No cell of 32 then holds letters of two lines."""
    min_blocks: int = 1
    max_blocks: int = 12
    max_characters: int = 320
    families: tuple[Family, ...] = FAMILIES
    max_degrees: float = 1.0
    clean: float = 0.4
    """The share of pages that are neither turned nor degraded."""


@dataclass(slots=True)
class _Pen:
    """Draws blocks downwards, until the page or the text is used up."""

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
    blocks: list[Block] = field(default_factory=list)
    num_characters: int = 0

    def line(
        self,
        text: str,
        x: float,
        y: float,
        font: ImageFont.FreeTypeFont,
        ink: tuple[int, int, int] | None = None,
    ) -> list[Piece]:
        """Draw a line whose letters stand in the height `y` to `y` + an em."""
        self.draw.text((x, y), text, font=font, fill=ink or self.ink)
        middle = y - 0.32 * font.size
        # Measured letter by letter, which is fast, then stretched to the true width,
        # which knows of kerning.
        advances = [advance(font, character) for character in text]
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

    def leading(self, ems: float) -> int:
        """From line to line, in pixels: as many ems as the domain allows."""
        return max(self.domain.min_leading, round(self.size * ems))

    def add(self, label: str, pieces: list[Piece], bbox: tuple[float, ...]) -> None:
        x0, y0, x1, y1 = bbox
        self.blocks.append(Block(label, (x0, y0, x1, y1), pieces))


def render_page(rng: random.Random, domain: Domain) -> Page:
    """A page of the domain; the same `rng` gives the same page."""
    width, height = rng.randint(*domain.widths), rng.randint(*domain.heights)
    paper = _paper(rng)
    margin = rng.randint(width // 32, width // 8)
    image = Image.new("RGB", (width, height), paper)
    pen = _Pen(
        rng=rng,
        domain=domain,
        draw=Canvas(image),
        family=rng.choice(domain.families),
        size=round(
            domain.sizes[0] + (domain.sizes[1] - domain.sizes[0]) * rng.random() ** 1.3
        ),
        paper=paper,
        ink=_ink(rng),
        left=margin,
        right=width - rng.randint(width // 32, width // 8),
        y=rng.randint(height // 40, height // 10),
        bottom=height - rng.randint(height // 40, height // 12),
    )
    _fill(pen)
    page = Page(image, pen.blocks, paper, pen.draw.marks)
    if rng.random() >= domain.clean:
        page = _turned(rng, page, domain.max_degrees, paper)
        page.image = _degraded(rng, page.image)
        page.marks = []
    return page


def _fill(pen: _Pen) -> None:
    rng = pen.rng
    footer = _margin_line(pen, "Page-Footer") if rng.random() < 0.35 else None
    if rng.random() < 0.35:
        header = _margin_line(pen, "Page-Header")
        pen.y = _place_line(pen, header, pen.y)
    if footer:
        pen.bottom -= round(2.2 * footer[1].size)
    wanted = rng.randint(pen.domain.min_blocks, pen.domain.max_blocks)
    while len(pen.blocks) < wanted and pen.num_characters < pen.domain.max_characters:
        kind = rng.choices(
            (_text, _heading, _list, _table, _figure), (45, 22, 13, 12, 8)
        )[0]
        if not kind(pen):
            break
        # More than from line to line, or nobody could tell two paragraphs from one.
        pen.y += round(pen.size * rng.uniform(1.0, 1.8))
        if rng.random() < 0.06:
            _rule(pen)
    if footer:
        _place_line(pen, footer, pen.bottom + round(1.1 * footer[1].size))


# Blocks. Each draws itself and says whether there was room.


def _text(pen: _Pen) -> bool:
    rng = pen.rng
    font = load(pen.family, pen.size)
    indent = rng.choice((0, 0, 0, pen.size))
    lines = _wrapped(pen, sentence(rng, rng.randint(2, 24)), font, pen.left + indent)
    leading = pen.leading(rng.uniform(1.15, 1.6))
    lines = lines[: _room(pen, leading)]
    if not lines:
        return False
    pieces = [Piece("<p>"), *_paragraph(pen, lines, pen.left + indent, leading, font)]
    pieces.append(Piece("</p>"))
    _finish(pen, "Text", pieces, len(lines), leading, pen.left + indent, lines, font)
    return True


def _heading(pen: _Pen) -> bool:
    rng = pen.rng
    size = min(pen.domain.sizes[1], round(pen.size * rng.uniform(1.2, 1.8)))
    if pen.family.bold is None:
        # Where it cannot be bolder it must be larger, or it would be text.
        size = max(size, round(pen.size * 1.25))
    font = load(pen.family, size, bold=True)
    leading = round(size * 1.3)
    lines = _wrapped(pen, sentence(rng, rng.randint(1, 5)), font, pen.left)[:1]
    if not _room(pen, leading) or not lines:
        return False
    ink = _ink(rng) if rng.random() < 0.4 else pen.ink
    x = pen.left
    if rng.random() < 0.2:
        x = round((pen.left + pen.right - font.getlength(lines[0])) / 2)
    pieces = [
        Piece("<h2>"),
        *pen.line(lines[0], x, pen.y + round(0.8 * size), font, ink),
    ]
    pieces.append(Piece("</h2>"))
    _finish(pen, "Section-Header", pieces, 1, leading, x, lines, font)
    return True


def _list(pen: _Pen) -> bool:
    rng = pen.rng
    font = load(pen.family, pen.size)
    numbered = rng.random() < 0.35
    indent = round(pen.size * rng.uniform(1.4, 2.2))
    leading = pen.leading(rng.uniform(1.2, 1.6))
    tag = "ol" if numbered else "ul"
    bullet = rng.choice("•-*")
    pieces = [Piece(f"<{tag}>")]
    top, drawn = pen.y, []
    for position in range(1, rng.randint(2, 5) + 1):
        lines = _wrapped(pen, sentence(rng, rng.randint(1, 9)), font, pen.left + indent)
        lines = lines[:2]
        if not lines or _room(pen, leading) < len(lines):
            break
        mark = f"{position}." if numbered else bullet
        pen.draw.text(
            (pen.left, pen.y + round(0.8 * pen.size)),
            mark,
            font=font,
            fill=pen.ink,
        )
        pieces.append(Piece("<li>"))
        pieces += _paragraph(pen, lines, pen.left + indent, leading, font)
        pieces.append(Piece("</li>"))
        drawn += lines
        pen.y += leading * len(lines)
    if not drawn:
        return False
    pieces.append(Piece(f"</{tag}>"))
    right = pen.left + indent + max(map(font.getlength, drawn))
    pen.y -= leading - round(1.05 * pen.size)
    pen.add("List-Group", pieces, (pen.left, top, right, pen.y))
    return True


def _table(pen: _Pen) -> bool:
    rng = pen.rng
    font, bold = load(pen.family, pen.size), load(pen.family, pen.size, bold=True)
    num_columns, num_rows = rng.randint(2, 4), rng.randint(2, 5)
    height = pen.leading(rng.uniform(1.4, 2.0))
    if (pen.bottom - pen.y) < height * num_rows:
        return False
    pad = round(pen.size * 0.5)
    grid = [
        [_cell_text(rng, header=row == 0) for _ in range(num_columns)]
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
    # Numbers often stand to the right, under a name that does so too.
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
            pieces += pen.line(text, start, pen.y + height / 2 + 0.33 * pen.size, face)
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
    pen.add("Table", pieces, (pen.left, top, x_end, pen.y))
    return True


def _figure(pen: _Pen) -> bool:
    rng = pen.rng
    height = rng.randint(56, 150)
    if pen.bottom - pen.y < height:
        return False
    width = rng.randint(96, max(97, pen.right - pen.left))
    x0, y0 = pen.left + rng.randint(0, max(0, pen.right - pen.left - width)), pen.y
    x1, y1 = min(x0 + width, pen.right), y0 + height
    draw, colour = pen.draw, _ink(rng)
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
    pen.add("Figure", pieces, (x0, y0, x1, y1))
    return True


def _rule(pen: _Pen) -> None:
    pen.draw.line(
        (pen.left, pen.y, pen.right, pen.y), fill=pen.ink, width=pen.rng.randint(1, 2)
    )
    pen.y += round(pen.size * 0.8)


_Line = tuple[str, ImageFont.FreeTypeFont, str]


def _margin_line(pen: _Pen, label: str) -> _Line:
    rng = pen.rng
    size = max(pen.domain.sizes[0], round(pen.size * rng.uniform(0.7, 0.95)))
    font = load(pen.family, size)
    text = (
        rng.choice(
            (
                f"Page {rng.randint(1, 999)}",
                str(rng.randint(1, 999)),
                f"{rng.randint(1, 99)} / {rng.randint(1, 99)}",
                " ".join(words(rng, rng.randint(1, 4))),
            )
        )
        if label == "Page-Footer"
        else " ".join(words(rng, rng.randint(1, 5)))
    )
    lines = _wrapped(pen, text, font, pen.left)
    return lines[0] if lines else "1", font, label


def _place_line(pen: _Pen, line: _Line, y: int) -> int:
    """Draw a page header or footer; where the text below it begins."""
    text, font, label = line
    slack = pen.right - pen.left - font.getlength(text)
    x = round(pen.left + slack * pen.rng.choice((0, 0.5, 1)))
    ink = tuple(min(130, channel + 50) for channel in pen.ink)
    pieces = pen.line(text, x, y + round(0.8 * font.size), font, ink)  # type: ignore[arg-type]
    pen.add(
        label, pieces, (x, y, x + font.getlength(text), y + round(1.05 * font.size))
    )
    return y + round(font.size * pen.rng.uniform(1.8, 3))


def _wrapped(
    pen: _Pen, text: str, font: ImageFont.FreeTypeFont, left: int
) -> list[str]:
    """The text in lines that fit; a word that fits nowhere is left out."""
    width = pen.right - left
    lines: list[str] = []
    used = 0.0
    for word in text.split():
        length = sum(advance(font, character) for character in word)
        if length > width:
            continue
        used += advance(font, " ") + length
        if lines and used <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
            used = length
    return lines


def _paragraph(
    pen: _Pen, lines: list[str], x: int, leading: int, font: ImageFont.FreeTypeFont
) -> list[Piece]:
    pieces: list[Piece] = []
    for index, line in enumerate(lines):
        drawn = pen.line(
            line, x, pen.y + index * leading + round(0.8 * font.size), font
        )
        if index:
            # The space that joins two lines stands before the second.
            pieces.append(Piece(" ", drawn[0].place))
        pieces += drawn
    return pieces


def _finish(
    pen: _Pen,
    label: str,
    pieces: list[Piece],
    num_lines: int,
    leading: int,
    x: int,
    lines: list[str],
    font: ImageFont.FreeTypeFont,
) -> None:
    top = pen.y
    pen.y += leading * (num_lines - 1) + round(1.05 * font.size)
    pen.add(label, pieces, (x, top, x + max(map(font.getlength, lines)), pen.y))


def _room(pen: _Pen, leading: int) -> int:
    """How many lines there is room for, on the page and in the answer."""
    lines = (pen.bottom - pen.y) // leading
    return max(0, lines) if pen.num_characters < pen.domain.max_characters else 0


def _cell_text(rng: random.Random, *, header: bool) -> str:
    if header or rng.random() < 0.35:
        return " ".join(words(rng, rng.randint(1, 2)))[:14].strip()
    return number(rng)


# Colours, and what scanners do.


def _paper(rng: random.Random) -> tuple[int, int, int]:
    if rng.random() < 0.5:
        return (255, 255, 255)
    low = rng.randint(225, 250)
    return rng.randint(low, 255), rng.randint(low, 255), rng.randint(low, 255)


def _ink(rng: random.Random) -> tuple[int, int, int]:
    if rng.random() < 0.6:
        grey = rng.randint(0, 60)
        return (grey, grey, grey)
    return rng.randint(0, 110), rng.randint(0, 110), rng.randint(0, 110)


def _turned(
    rng: random.Random, page: Page, max_degrees: float, paper: tuple[int, int, int]
) -> Page:
    """The page laid down askew: its letters and boxes go with it."""
    degrees = rng.uniform(-max_degrees, max_degrees) if rng.random() < 0.5 else 0.0
    if not degrees:
        return page
    width, height = page.image.size
    centre_x, centre_y = width / 2, height / 2
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def moved(point: Point) -> Point:
        x, y = point[0] - centre_x, point[1] - centre_y
        return centre_x + cosine * x + sine * y, centre_y - sine * x + cosine * y

    blocks = []
    for block in page.blocks:
        x0, y0, x1, y1 = block.bbox
        corners = [moved(point) for point in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
        xs, ys = zip(*corners, strict=True)
        bbox = (
            max(0, min(xs)),
            max(0, min(ys)),
            min(width, max(xs)),
            min(height, max(ys)),
        )
        pieces = [
            Piece(piece.text, piece.place and moved(piece.place))
            for piece in block.pieces
        ]
        blocks.append(Block(block.label, bbox, pieces))
    image = page.image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=paper)
    return Page(image, blocks)


def _degraded(rng: random.Random, image: Image.Image) -> Image.Image:
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
