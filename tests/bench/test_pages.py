"""Bundled pages with their transcriptions and licences."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from rapidfuzz.distance import Levenshtein

from bench.drafts import PAGES, load_bundled_pages
from handler.postprocess import ConversionOptions, PageGeometry, convert_page
from handler.postprocess.blocks.layout import CHANDRA_1_LABELS
from handler.profiles import PROFILES

PROFILE = PROFILES["chandra"]
BUNDLED_PAGES = list(load_bundled_pages())
BLOCK = re.compile(
    r'<div data-bbox="\[(\d+), (\d+), (\d+), (\d+)\]" data-label="(.*?)">'
)


def with_each_page():
    """Return a mark that runs a test for each bundled page."""
    return pytest.mark.parametrize("page", BUNDLED_PAGES, ids=lambda page: page.name)


def sorted_words(text: str) -> list[str]:
    """Return the words sorted, because a text layer has its own order of columns."""
    return sorted(re.findall(r"[^\W_]+", text.replace("\x02", "").lower()))


class VisibleText(HTMLParser):
    """Parser for the visible text of HTML, without descriptions of pictures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in ("b", "i", "sup"):
            self.parts.append(" ")

    def handle_data(self, data):
        self.parts.append(data)


def test_a_handful_of_pages_is_bundled_and_small():
    size = sum(path.stat().st_size for path in PAGES.iterdir())

    assert 6 <= len(BUNDLED_PAGES) <= 10
    assert size < 2_000_000


@with_each_page()
def test_page_has_a_source_and_a_licence(page):
    readme = (PAGES / "README.md").read_text("utf-8")
    table, _, licences = readme.partition("## Licences")

    assert re.search(rf"^\| `{page.name}` \|", table, re.MULTILINE)
    assert f"`{page.name}`" in licences


@with_each_page()
def test_every_block_has_a_valid_label_and_box(page):
    blocks = BLOCK.findall(page.answer)

    assert len(blocks) == page.answer.count("<div ")
    for *box, label in blocks:
        left, top, right, bottom = map(int, box)
        assert 0 <= left < right <= 1024
        assert 0 <= top < bottom <= 1024
        assert label in CHANDRA_1_LABELS


@with_each_page()
def test_the_service_reads_every_block_without_a_warning(page):
    content = convert_page(
        page.answer,
        PageGeometry(1, 1000, 1000, PROFILE.bbox_format),
        ConversionOptions("ocr_layout", include_headers_footers=True),
    )

    assert len(content.blocks) == page.answer.count("<div ")
    assert not content.warnings


@with_each_page()
def test_the_words_are_those_of_the_text_layer(page):
    words_of_answer = sorted_words("".join(VisibleText(page.answer).parts))

    assert (
        Levenshtein.normalized_distance(words_of_answer, sorted_words(page.text_layer))
        < 0.1
    )
