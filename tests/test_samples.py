"""Expected Markdown of the samples, which has the text that their script draws."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pypdfium2

SAMPLES = Path(__file__).resolve().parent.parent / "samples"


def words_of(markdown: str) -> list[str]:
    """Return the words without markup, rules of tables and descriptions of pictures."""
    text = re.sub(r"^\*.*\*$|^\| ---.*$", "", markdown, flags=re.MULTILINE)
    return re.sub(r"^(## |- )|\|", "", text, flags=re.MULTILINE).split()


def test_report_markdown_has_the_words_of_the_text_layer():
    pages = pypdfium2.PdfDocument(SAMPLES / "report.pdf")
    lines = [
        line
        for page in pages
        for line in page.get_textpage().get_text_range().splitlines()
    ]
    furniture = re.compile(r"Harrow Point Station|Page [12] of 2")
    body = [line.removeprefix("•") for line in lines if not furniture.fullmatch(line)]

    words = words_of((SAMPLES / "report.md").read_text())

    assert words == " ".join(body).split()


def test_page_markdown_has_the_words_of_the_picture():
    drawn = runpy.run_path(str(SAMPLES / "make.py"))
    texts = [
        *(drawn["TITLE"], drawn["SUBTITLE"], *drawn["PARAGRAPHS"]),
        *(drawn["LIST_TITLE"], *drawn["LIST_ITEMS"], drawn["TABLE_TITLE"]),
        *(cell for row in drawn["TABLE"] for cell in row),
    ]

    words = words_of((SAMPLES / "page.md").read_text())

    assert words == " ".join(texts).split()
