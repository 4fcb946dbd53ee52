"""Folder of small documents, some of them broken, generated from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from mini.pages import Domain, RenderedPage, render_page
from mini.pdf import as_pdf
from tests import documents

__all__ = ["fill"]

PAGES = Domain(
    widths=(256, 320),
    heights=(160, 224),
    min_blocks=1,
    max_blocks=1,
    max_characters=20,
    # Only pages without simulated scanning can become PDFs with text.
    clean=1.0,
)
MAX_CHARACTERS = 90
"""Longest HTML of a page."""
DOCUMENTS_PER_BROKEN = 20
"""One in this number of documents is broken, and at least two of each folder."""


def _truncated(rng: random.Random) -> bytes:
    return _pdf(rng)[: rng.randrange(20, 300)]


def _encrypted(rng: random.Random) -> bytes:
    return documents.pdf([[f"Secret {rng.random()}"]], password="secret")


def _no_image(rng: random.Random) -> bytes:
    return f"This is text and no picture, number {rng.random()}.".encode()


def _without_pages(rng: random.Random) -> bytes:
    return documents.empty_pdf() + f"% {rng.random()}\n".encode()


def _empty(rng: random.Random) -> bytes:
    del rng
    return b""


def _half_an_image(rng: random.Random) -> bytes:
    return _png(rng)[: rng.randrange(20, 40)]


def _page(rng: random.Random) -> RenderedPage:
    """Draw a page of a word or two, which the embedded model reads in about 0.2 s."""
    while True:
        page = render_page(rng, PAGES)
        if page.blocks and len(page.html) < MAX_CHARACTERS:
            return page


def _png(rng: random.Random) -> bytes:
    return documents.as_png(_page(rng).image)


def _jpeg(rng: random.Random) -> bytes:
    return documents.as_jpeg(_page(rng).image)


def _pdf(rng: random.Random) -> bytes:
    return as_pdf(_page(rng))


def _two_pages(rng: random.Random) -> bytes:
    return as_pdf(_page(rng), _page(rng))


Make = Callable[[random.Random], bytes]
GOOD: tuple[tuple[str, Make], ...] = (
    (".png", _png),
    (".pdf", _pdf),
    (".jpg", _jpeg),
    (".pdf", _pdf),
    (".png", _png),
    (".pdf", _two_pages),
)
BROKEN: tuple[tuple[str, Make, str], ...] = (
    (".pdf", _truncated, "unreadable_document"),
    # The command rejects this one before it submits it.
    (".png", _empty, "unreadable_document"),
    (".png", _no_image, "unsupported_media_type"),
    (".pdf", _encrypted, "password_required"),
    (".png", _half_an_image, "unreadable_document"),
    (".pdf", _without_pages, "unreadable_document"),
)


def fill(root: Path, num_documents: int, seed: int) -> dict[str, str | None]:
    """Write the documents; return the expected error code, or None, by file name."""
    rng = random.Random(seed)
    num_broken = max(2, num_documents // DOCUMENTS_PER_BROKEN)
    broken = rng.sample(range(num_documents), num_broken)
    codes: dict[str, str | None] = {}
    root.mkdir()
    for number in range(num_documents):
        code: str | None = None
        if number in broken:
            suffix, make, code = BROKEN[broken.index(number) % len(BROKEN)]
        else:
            suffix, make = GOOD[number % len(GOOD)]
        name = f"{number:03}{suffix}"
        (root / name).write_bytes(make(random.Random(f"{seed} {number}")))
        codes[name] = code
    return codes
