"""A4 pages of prose in unseen typefaces, as scanned at usual resolutions."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from mini.blocks import draw_heading, draw_list, draw_table, draw_text
from mini.canvas import Canvas
from mini.evaluation.pages import read_texts
from mini.evaluation.reader import EvaluationPage
from mini.fonts import Family, find_unseen_families, supported_characters
from mini.pen import Domain, Pen
from mini.truth import RenderedPage

__all__ = ["A4_SIZES", "A4Format", "ProseWriter", "iter_a4_pages", "render_a4_page"]

A4_SIZES = {150: (1240, 1754), 200: (1654, 2339), 300: (2480, 3508)}
"""Width and height of a page in pixels, by dots per inch."""

_POINTS_PER_INCH = 72
_MAX_PHRASE = 9
"""Number of words up to which a heading or an item of a list is asked for."""
_WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True, slots=True)
class A4Format:
    """Resolution, size of the text and number of columns of a page."""

    dpi: int
    points: int
    num_columns: int = 1


class ProseWriter:
    """Writer of sentences in several languages that no training page contains."""

    def __init__(self, supported: frozenset[str]) -> None:
        """Use only sentences whose characters are all `supported`."""

        def select(name: str) -> list[str]:
            return [t for t in read_texts(name) if supported.issuperset(t)]

        self._sentences = select("sentences.txt")
        self._phrases = select("phrases.txt")
        self._words = sorted({*_WORD.findall(" ".join(self._sentences))})

    def write_sentence(self, rng: random.Random, num_words: int) -> str:
        """Return a phrase, or whole sentences with at least `num_words` words."""
        if num_words <= _MAX_PHRASE:
            return rng.choice(self._phrases)
        text: list[str] = []
        while len(text) < num_words:
            text += rng.choice(self._sentences).split()
        return " ".join(text)

    def write_words(self, rng: random.Random, num_words: int) -> list[str]:
        return [rng.choice(self._words) for _ in range(num_words)]

    def write_number(self, rng: random.Random) -> str:
        """Return an amount, a share, a year or a negative number."""
        return rng.choice(
            (
                f"€{rng.randint(1, 9999):,}.{rng.randrange(100):02}",
                f"{rng.randint(1, 999)},{rng.randrange(100):02} €",
                f"{rng.randint(1, 99)} %",
                f"{rng.randint(1900, 2030)}",
                f"\N{EN DASH}{rng.randint(1, 99)}.{rng.randrange(10)}",
            )
        )


def iter_a4_pages(
    seed: str, form: A4Format, num_pages: int
) -> Iterator[EvaluationPage]:
    """Yield pages of a format; the typefaces take turns.

    Raises MissingFontsError if an unseen typeface is not installed.
    """
    families = find_unseen_families()
    rng = random.Random(f"a4/{seed}/{form}")
    for index in range(num_pages):
        page = render_a4_page(rng, form, families[index % len(families)])
        yield EvaluationPage.from_rendered(page)


def render_a4_page(rng: random.Random, form: A4Format, family: Family) -> RenderedPage:
    """Render a page full of headings, paragraphs, a list and sometimes a table."""
    width, height = A4_SIZES[form.dpi]
    size = round(form.points * form.dpi / _POINTS_PER_INCH)
    margin = round(width * rng.uniform(0.09, 0.12))
    image = Image.new("RGB", (width, height), "white")
    pen = Pen(
        rng=rng,
        domain=Domain(
            sizes=(size, size),
            min_leading=0,
            max_heading_size=2 * size,
            max_characters=width * height,
            max_words=90,
            emphasized=0.5,
            max_table=(4, 6) if form.num_columns == 1 else (3, 5),
        ),
        draw=Canvas(image),
        family=family,
        writer=ProseWriter(supported_characters(family)),
        size=size,
        paper=(255, 255, 255),
        ink=(20, 20, 20),
        left=margin,
        right=width - margin,
        y=margin,
        bottom=height - margin,
    )
    gap = 2 * size
    column_width = (width - 2 * margin - gap * (form.num_columns - 1)) // (
        form.num_columns
    )
    for column in range(form.num_columns):
        pen.left = margin + column * (column_width + gap)
        pen.right = pen.left + column_width
        pen.y = margin
        _fill_column(pen)
    return RenderedPage(image, pen.blocks, pen.paper, pen.draw.marks)


def _fill_column(pen: Pen) -> None:
    """Draw blocks until no further paragraph fits."""
    rng = pen.rng
    kinds = [draw_heading, draw_text, draw_text, draw_list, draw_text]
    if rng.random() < 0.5:
        kinds.insert(rng.randint(2, len(kinds)), draw_table)
    index = 0
    while True:
        kind = kinds[index] if index < len(kinds) else draw_text
        if (
            rng.random() < 0.2
            and index > len(kinds)
            and pen.count_free_lines(pen.size) > 6
        ):
            kind = draw_heading
        is_drawn = kind(pen)
        if not is_drawn and kind is draw_text:
            return
        if is_drawn:
            pen.y += round(pen.size * rng.uniform(0.9, 1.3))
        index += 1
