"""Pages of the evaluation that are drawn at random; a seed always gives the same."""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mini.evaluation.reader import EvaluationPage
from mini.fonts import Family
from mini.pages import Domain, RenderedPage, render_page

__all__ = [
    "iter_domain_pages",
    "iter_family_pages",
    "iter_pillow_pages",
    "read_texts",
    "render_unseen_pages",
]

_TEXTS = Path(__file__).with_name("texts")
_PILLOW_SIZE = (640, 800)
_PILLOW_MARGIN = 40


@functools.cache
def read_texts(name: str) -> tuple[str, ...]:
    """Return the lines of `sentences.txt` or `phrases.txt`; no training uses them."""
    return tuple((_TEXTS / name).read_text("utf-8").splitlines())


def render_unseen_pages(
    seed: str, domain: Domain | None = None
) -> Iterator[RenderedPage]:
    """Yield random pages of the domain without end, which the training does not use."""
    rng = random.Random(f"unseen/{seed}")
    while True:
        page = render_page(rng, domain or Domain())
        if page.blocks:
            yield page


def iter_domain_pages(seed: str, num_pages: int) -> Iterator[EvaluationPage]:
    """Yield unseen pages of the default domain."""
    for page in islice(render_unseen_pages(seed), num_pages):
        yield EvaluationPage.from_rendered(page)


def iter_family_pages(
    seed: str, family: Family, num_pages: int
) -> Iterator[EvaluationPage]:
    """Yield unseen pages of the default domain in one typeface."""
    domain = replace(Domain(), families=(family,))
    for page in islice(render_unseen_pages(f"{seed}/{family.name}", domain), num_pages):
        yield EvaluationPage.from_rendered(page)


def iter_pillow_pages(seed: str, num_pages: int) -> Iterator[EvaluationPage]:
    """Yield white pages full of random words, which only Pillow draws.

    The words are in Pillow's default font, in left-aligned lines.
    """
    rng = random.Random(f"pillow/{seed}")
    words = sorted(
        {
            word
            for sentence in read_texts("sentences.txt")
            for word in sentence.split()
            if word.isascii()
        }
    )
    width, height = _PILLOW_SIZE
    for _ in range(num_pages):
        font = ImageFont.load_default(rng.randint(18, 24))
        assert isinstance(font, ImageFont.FreeTypeFont)
        leading = round(1.5 * font.size)
        image = Image.new("RGB", _PILLOW_SIZE, "white")
        draw = ImageDraw.Draw(image)
        lines = []
        for y in range(_PILLOW_MARGIN, height - _PILLOW_MARGIN - leading, leading):
            line = rng.choice(words)
            while True:
                wider = f"{line} {rng.choice(words)}"
                if font.getlength(wider) > width - 2 * _PILLOW_MARGIN:
                    break
                line = wider
            draw.text((_PILLOW_MARGIN, y), line, font=font, fill="black")
            lines.append(line)
        stream = io.BytesIO()
        image.save(stream, "PNG")
        answer = f'<div data-label="Text"><p>{" ".join(lines)}</p></div>'
        yield EvaluationPage(stream.getvalue(), "image/png", answer, _PILLOW_SIZE)
