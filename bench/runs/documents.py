"""Benchmark pages with known text, from the renderer of the embedded model."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from handler.engine.request import EngineRequest
from handler.preprocess.document import decode_page
from handler.preprocess.limits import Limits
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.sandbox.wire import Descriptor
from mini.pages import Domain, RenderedPage, render_page
from mini.pdf import as_pdf

__all__ = ["make_pdf_requests", "make_png_requests", "render_pages_of_lognormal_length"]

PROFILE = PROFILES["mini"]

MEDIAN_CHARACTERS = 120
SIGMA = 0.65
"""Standard deviation of the logarithm, similar to Chandra's output on real pages."""
MIN_CHARACTERS, MAX_CHARACTERS = 20, 500


def render_pages_of_lognormal_length(count: int, seed: str) -> list[RenderedPage]:
    """Return `count` clean pages with text from one line to a full page.

    The same seed gives the same pages.
    """
    rng = random.Random(f"bench/{seed}")
    pages: list[RenderedPage] = []
    while len(pages) < count:
        num_characters = round(MEDIAN_CHARACTERS * rng.lognormvariate(0, SIGMA))
        # The limit of characters, not that of blocks, ends the page.
        domain = Domain(
            min_blocks=12,
            max_characters=min(MAX_CHARACTERS, max(MIN_CHARACTERS, num_characters)),
            # Small letters and leading, so that the text fits.
            sizes=(18, 20),
            min_leading=20,
            clean=1.0,
        )
        page = render_page(rng, domain)
        if page.blocks:
            pages.append(page)
    return pages


def make_png_requests(pages: Sequence[RenderedPage]) -> list[EngineRequest]:
    """Return a request for each page as a decoded PNG file, without a text layer."""
    requests = []
    for number, page in enumerate(pages, start=1):
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            page.image.save(file.name)
            requests.append(_build_request(number, file.name, "image/png", 1))
    return requests


def make_pdf_requests(pages: Sequence[RenderedPage]) -> list[EngineRequest]:
    """Return a request for each page of a born-digital PDF, with its text layer."""
    with tempfile.NamedTemporaryFile(suffix=".pdf") as file:
        file.write(as_pdf(*pages))
        file.flush()
        return [
            _build_request(number, file.name, "application/pdf", number)
            for number in range(1, len(pages) + 1)
        ]


def _build_request(
    number: int, path: str, media_type: str, page_number: int
) -> EngineRequest:
    with Path(path).open("rb") as file:
        document = Descriptor(file.fileno())
        page = decode_page(document, media_type, page_number, PROFILE.sizing, Limits())
    prompt = load_prompts(PROFILE)["ocr_layout"]
    return EngineRequest(
        f"page/{number}", str(number), page, prompt, PROFILE.max_output_tokens
    )
