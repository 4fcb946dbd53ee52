"""Folder of small documents, some of them broken, generated from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from mini.pages import Domain, RenderedPage, render_page
from mini.pdf import as_pdf
from tests import documents

__all__ = ["fill_folder"]

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


def _make_truncated_pdf(rng: random.Random) -> bytes:
    return _make_pdf(rng)[: rng.randrange(20, 300)]


def _make_encrypted_pdf(rng: random.Random) -> bytes:
    return documents.pdf([[f"Secret {rng.random()}"]], password="secret")


def _make_text_file(rng: random.Random) -> bytes:
    return f"This is text and no picture, number {rng.random()}.".encode()


def _make_pdf_without_pages(rng: random.Random) -> bytes:
    return documents.empty_pdf() + f"% {rng.random()}\n".encode()


def _make_empty_file(rng: random.Random) -> bytes:
    del rng
    return b""


def _make_truncated_png(rng: random.Random) -> bytes:
    return _make_png(rng)[: rng.randrange(20, 40)]


def _render_short_page(rng: random.Random) -> RenderedPage:
    """Draw a page of a word or two, which the embedded model reads in about 0.2 s."""
    while True:
        page = render_page(rng, PAGES)
        if page.blocks and len(page.html) < MAX_CHARACTERS:
            return page


def _make_png(rng: random.Random) -> bytes:
    return documents.as_png(_render_short_page(rng).image)


def _make_jpeg(rng: random.Random) -> bytes:
    return documents.as_jpeg(_render_short_page(rng).image)


def _make_pdf(rng: random.Random) -> bytes:
    return as_pdf(_render_short_page(rng))


def _make_pdf_of_two_pages(rng: random.Random) -> bytes:
    return as_pdf(_render_short_page(rng), _render_short_page(rng))


MakeDocument = Callable[[random.Random], bytes]
GOOD: tuple[tuple[str, MakeDocument], ...] = (
    (".png", _make_png),
    (".pdf", _make_pdf),
    (".jpg", _make_jpeg),
    (".pdf", _make_pdf),
    (".png", _make_png),
    (".pdf", _make_pdf_of_two_pages),
)
BROKEN: tuple[tuple[str, MakeDocument, str], ...] = (
    (".pdf", _make_truncated_pdf, "unreadable_document"),
    # The command rejects this one before it submits it.
    (".png", _make_empty_file, "unreadable_document"),
    (".png", _make_text_file, "unsupported_media_type"),
    (".pdf", _make_encrypted_pdf, "password_required"),
    (".png", _make_truncated_png, "unreadable_document"),
    (".pdf", _make_pdf_without_pages, "unreadable_document"),
)


def fill_folder(root: Path, num_documents: int, seed: int) -> dict[str, str | None]:
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
