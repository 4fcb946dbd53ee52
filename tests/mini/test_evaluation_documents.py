"""Documents of the evaluation: their answers, and texts that no training contains."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pypdfium2
import pytest

import mini
from mini.evaluation.chromium import (
    CHROMIUM_PAGES,
    DOCUMENTS,
    MissingBrowserError,
    find_chromium,
    print_page,
)
from mini.evaluation.pages import read_texts
from mini.evaluation.parts import read_samples
from mini.fonts import MissingFontsError, find_unseen_families
from mini.words import LATIN_CHARACTERS

ROOT = Path(__file__).parents[2]
MINI = Path(mini.__file__).parent
NUM_WORDS = 6
TAG = re.compile("<[^>]*>")
STYLE = re.compile("<style>.*?</style>", re.DOTALL)
WORD = re.compile(r"\w+")
BULLETS = str.maketrans("", "", "•-")


def read_layer(document: bytes, number: int) -> list[str]:
    """Return the words of a PDF page's text layer in the order of the letters."""
    page = pypdfium2.PdfDocument(document)[number - 1]
    text: str = page.get_textpage().get_text_range()
    return text.translate(BULLETS).split()


print_once = functools.cache(print_page)


@pytest.fixture
def _chromium():
    try:
        find_chromium()
        find_unseen_families()
    except (MissingBrowserError, MissingFontsError) as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("_chromium")
@pytest.mark.parametrize("page", CHROMIUM_PAGES, ids=lambda page: page.name)
def test_chromium_prints_the_text_of_the_answer(page):
    printed = print_once(page)

    assert len(pypdfium2.PdfDocument(printed.document)) == 1
    words = printed.truth.text.translate(BULLETS).split()
    assert read_layer(printed.document, 1) == words


@pytest.mark.usefixtures("_chromium")
@pytest.mark.parametrize("page", CHROMIUM_PAGES, ids=lambda page: page.name)
def test_chromium_uses_the_unseen_typeface(page):
    printed = print_once(page).document

    names = re.findall(rb"/FontName /[A-Z]+\+(\w+)", printed)
    family = page.family.replace(" ", "").encode()
    assert names
    assert all(name.startswith(family) for name in names)


def test_missing_chromium_is_named_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MissingBrowserError, match="apt-get install chromium"):
        find_chromium()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_answers_of_the_sample_report_match_its_text_layer(number):
    page = read_samples()[f"report-{number}"]

    words = page.truth.text.translate(BULLETS).split()

    # The file has the footer after the header.
    assert sorted(read_layer(page.document, number)) == sorted(words)


def test_answer_of_the_sample_page_has_the_texts_of_its_script():
    strings = read_page_strings()

    text = " ".join(read_samples()["page"].truth.text.split())

    assert "Work on the station" in strings
    assert [string for string in strings if string not in text] == []


def read_page_strings() -> list[str]:
    """Return the texts that samples/make.py defines for the page image."""
    tree = ast.parse((ROOT / "samples" / "make.py").read_text("utf-8"))
    is_page = True
    strings: list[str] = []
    for node in tree.body:
        is_page = is_page and not isinstance(node, ast.FunctionDef)
        if is_page and isinstance(node, ast.Assign):
            strings += iter_strings(node)
    return [s for s in strings if not s.startswith("#") and s != "fonts"]


def iter_strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def iter_script_strings(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        yield from iter_strings(ast.parse(path.read_text("utf-8")))


def find_phrases(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """Return all runs of six words of the texts, without case and punctuation."""
    phrases: set[tuple[str, ...]] = set()
    for text in texts:
        words = WORD.findall(text.casefold())
        phrases.update(
            tuple(words[start : start + NUM_WORDS])
            for start in range(len(words) - NUM_WORDS + 1)
        )
    return phrases


@pytest.fixture(scope="module")
def trained_phrases() -> set[tuple[str, ...]]:
    files = [MINI / "prose.txt", MINI / "pieces.txt"]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    scripts = [MINI / name for name in ("words.py", "writers.py", "blocks.py")]
    return find_phrases([*lines, *iter_script_strings(scripts)])


def read_evaluation_texts() -> Iterator[str]:
    for path in sorted(DOCUMENTS.glob("*.html")):
        html = STYLE.sub("", path.read_text("utf-8"))
        yield TAG.sub(" ", html)
    yield from read_texts("sentences.txt")
    yield from read_texts("phrases.txt")


TEXTS = {
    "evaluation": read_evaluation_texts,
    "samples": lambda: iter_script_strings([ROOT / "samples" / "make.py"]),
    "tests": lambda: iter_script_strings((ROOT / "tests").rglob("*.py")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_no_training_text_contains_a_phrase_of(name, trained_phrases):
    phrases = find_phrases(TEXTS[name]())

    assert phrases
    assert phrases & trained_phrases == set()


def test_prose_has_phrases_that_the_comparison_would_find(trained_phrases):
    lines = (MINI / "prose.txt").read_text("utf-8").splitlines()

    assert find_phrases([lines[0].upper()]) <= trained_phrases


def test_evaluation_texts_have_only_trained_characters():
    text = "".join([*read_texts("sentences.txt"), *read_texts("phrases.txt")])

    assert set(text) <= set(LATIN_CHARACTERS) | {" "}


def test_chromium_answers_have_only_trained_characters():
    text = "".join(TAG.sub("", page.answer) for page in CHROMIUM_PAGES)

    assert set(text) <= set(LATIN_CHARACTERS) | {" ", "\n"}


def test_every_answer_belongs_to_a_document():
    names = {path.name for path in DOCUMENTS.iterdir()}

    pages = {f"{page.name}.html" for page in CHROMIUM_PAGES}
    answers = {f"{page.name}.answer.html" for page in CHROMIUM_PAGES}
    samples = {f"{name}.answer.html" for name in read_samples()}
    assert names == pages | answers | samples


def test_chromium_is_found_on_the_path(monkeypatch, tmp_path):
    program = tmp_path / "chromium-browser"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_chromium() == str(program)
