"""Distinction between loops of the model and pages that repeat themselves."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings, strategies as st

from handler.engine.batching.repetition import (
    TAIL,
    ends_in_loop,
    find_repetition,
)

WORDS = "lorem", "ipsum", "dolor", "sit", "amet", "consetetur", "sadipscing", "elitr"
HEADING = '<div data-bbox="[80, 60, 940, 90]" data-label="Section-Header"><h1>A</h1>'
SENTENCE = "The committee approved the minutes of the last meeting. "


def prose(num_words: int) -> str:
    """Return random words, the same for each call."""
    return " ".join(random.Random(num_words).choices(WORDS, k=num_words))


def block(content: str, *bbox: int, label: str = "Text") -> str:
    return f'<div data-bbox="{list(bbox)}" data-label="{label}">{content}</div>'


def table(rows: list[list[str]]) -> str:
    return "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
    )


def column(cell: str, num_rows: int) -> str:
    return "<table><tbody>" + table([[cell]] * num_rows)


def grid(content: str, num_rows: int, num_columns: int) -> str:
    """Return a grid of blocks over the page, all with the same content."""
    width, height = 1024 // num_columns, 1024 // num_rows
    return "".join(
        block(content, x * width, y * height, (x + 1) * width, (y + 1) * height)
        for y in range(num_rows)
        for x in range(num_columns)
    )


CHECKBOX = '<input type="checkbox">'
ADDRESS = "<p>Jane Doe<br>12 High Street<br>Springfield, IL 62701</p>"
PURPOSE = "Toll payment Golden Gate Bridge"
FORM = "<p>" + prose(230) + "</p>"
NUMBERS = random.Random(1)

REPETITIVE_PAGES = {
    "a sign-in sheet of empty cells": "<table>" + table([["", ""]] * 60),
    "a sign-in sheet with numbered rows": table([[str(n), "", ""] for n in range(60)]),
    "a month's attendance of thirty people": table([[""] * 31] * 30),
    "dot leaders of a table of contents": "".join(
        f"<p>Chapter {n} {'.' * 90} {7 * n}</p>" for n in range(1, 41)
    ),
    "a line of two thousand dots": "<p>Total " + "." * 2000,
    "underscore form lines": "<p>" + ("_" * 80 + "<br>") * 40,
    "labelled form lines": "<p>Name: ____________________ Date: __________</p>" * 40,
    "form lines in blocks of their own": "".join(
        block("<p>______</p>", 80, 20 * n, 940, 20 * n + 18) for n in range(50)
    ),
    "rows of dashes": ("-" * 100 + "\n") * 50,
    "non-breaking spaces": "<p>Signed" + "&nbsp;" * 500,
    "spaces": "<pre>Signed" + " " * 4000,
    "a checkbox column": column(CHECKBOX, 60),
    "a column of checkboxes with yes and no": column(
        f"{CHECKBOX} Yes {CHECKBOX} No", 60
    ),
    "a list of checkboxes": "<ul>" + f"<li>{CHECKBOX}</li>" * 60,
    "numbered blank items": "<p>"
    + "".join(f"{n}. ____________________<br>" for n in range(1, 61)),
    "an answer sheet": table([[str(n), *"ABCDE"] for n in range(1, 101)]),
    "a column of 0.00": column("0.00", 40),
    "a column of n/a": column("n/a", 40),
    "a column of dashes": column("-", 40),
    "a column that says not applicable": column("Not applicable", 40),
    "three columns that say not applicable": table([["Not applicable"] * 3] * 40),
    "six columns of n/a": table([["n/a"] * 6] * 40),
    "a table of numbers": table(
        [[f"{NUMBERS.random():.4f}" for _ in range(10)] for _ in range(60)]
    ),
    "a bank statement with one purpose": table(
        [[f"{n % 28 + 1:02}/03", PURPOSE, f"{n}.75"] for n in range(60)]
    ),
    "a sheet of address labels": grid(ADDRESS, 10, 3),
    "a form of four copies": FORM * 4,
    "a long list of exhibits": "".join(f"<li>Exhibit {n}</li>" for n in range(1, 121)),
    "prose": prose(3000),
}

LOOPS = {
    "a sentence": SENTENCE * 30,
    "a word": "the " * 300,
    "a letter": "a" * 1000,
    "a word of another script": "好的。" * 400,
    "a paragraph": ("<p>" + prose(60) + "</p>") * 8,
    "a block with its box": block("<p>Yes.</p>", 80, 60, 940, 90) * 20,
    "a description of a picture": '<img alt="' + "a bar, " * 200,
    "a row of words": table([["Toll payment", "Golden Gate Bridge"]] * 80),
    "empty cells": "<td></td>" * 1200,
    "spaces": " " * 7000,
    "newlines": "\n" * 7000,
    "blank lines": "\n    " * 1500,
    "dots": "." * 7000,
    "non-breaking spaces": "&nbsp;" * 1200,
    "a sentence with a counter": "".join(
        f"{n}. {SENTENCE}\n" for n in range(1, 101)
    ),
    "a block that moves down": "".join(
        block(f"<p>{SENTENCE}</p>", 80, 5 * n, 940, 5 * n + 4) for n in range(60)
    ),
    "an empty block that moves down": "".join(
        block("<p></p>", 80, 5 * n, 940, 5 * n + 4) for n in range(150)
    ),
    "words and dots in turn": (SENTENCE + "." * 1200) * 7,
}  # fmt: skip


def parametrize_texts(cases: dict[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("text", cases.values(), ids=list(cases))


# Pages


@parametrize_texts(REPETITIVE_PAGES)
def test_no_part_of_a_repetitive_page_ends_in_a_loop(text):
    page = HEADING + text

    assert not any(ends_in_loop(page[:end]) for end in range(0, len(page) + 1, 97))


@parametrize_texts(REPETITIVE_PAGES)
def test_repetitive_page_has_no_repetition(text):
    assert find_repetition(HEADING + text) is None
    assert find_repetition(text + "</table></div>" + prose(400)) is None


# Loops


@parametrize_texts(LOOPS)
def test_loop_is_found_while_the_page_is_read(text):
    assert ends_in_loop(text)
    assert ends_in_loop(HEADING + prose(500) + text)


@parametrize_texts(LOOPS)
def test_loop_at_the_end_of_a_page_is_found(text):
    assert find_repetition(HEADING + prose(500) + text) is not None


@parametrize_texts(LOOPS)
def test_loop_before_a_normal_ending_is_found_at_the_end(text):
    page = HEADING + text + prose(300) + block("<p>12</p>", 480, 990, 540, 1010)

    assert not ends_in_loop(page)
    assert find_repetition(page) is not None


def test_ten_equal_sentences_are_found_only_after_the_page():
    page = prose(100) + SENTENCE * 10

    assert find_repetition(page) is not None
    assert not ends_in_loop(page)


def test_short_loop_is_not_stopped():
    begun = prose(100) + SENTENCE * 17

    assert not ends_in_loop(begun)
    assert ends_in_loop(begun + SENTENCE)


@pytest.mark.parametrize(
    ("words", "loop"),
    [
        (100, SENTENCE * 30),
        (1000, SENTENCE * 30 + prose(200)),
        (300, "".join(f"{n}. {SENTENCE}\n" for n in range(1, 200))),
    ],
    ids=["at the end", "in the middle", "with a counter"],
)
def test_start_of_a_repetition_is_returned(words, loop):
    before = "In 1999, page 12 of 300: " + prose(words) + ". "

    start = find_repetition(before + loop)

    assert start is not None
    assert abs(start - len(before)) < len(SENTENCE)


# Any text

NOISE = "", "", "7. ", "… "
UNITS = st.lists(
    st.tuples(st.sampled_from(NOISE), st.sampled_from(WORDS)), min_size=1, max_size=30
).map(lambda parts: "".join(f"{noise}{word} " for noise, word in parts))


@given(st.text(max_size=400), UNITS, st.integers(0, 30))
def test_words_repeated_often_are_a_loop_after_any_text(before, unit, cut):
    num_repeats = max(5, 1000 // len(unit) + 1) + 1
    text = before + unit * num_repeats

    assert ends_in_loop(text)
    assert ends_in_loop(text[: len(text) - min(cut, len(unit))])
    assert find_repetition(text) is not None
    assert find_repetition(text + prose(100)) is not None


@given(st.text(max_size=60), st.integers(1, 2000))
def test_text_below_the_bounds_is_no_loop(unit, length):
    text = (unit * length)[:length]

    assert not (length < 1000 and ends_in_loop(text))
    assert length >= 500 or find_repetition(text) is None


@given(
    st.lists(
        st.tuples(st.text(max_size=30), st.integers(0, 600)),
        max_size=8,
    ).map(lambda parts: "".join(unit * count for unit, count in parts))
)
@settings(deadline=None)
def test_any_text_gives_consistent_results(text):
    start = find_repetition(text)

    assert start is None or 0 <= start < len(text)
    assert start is not None or not ends_in_loop(text)


@pytest.mark.parametrize("text", ["", "a", "\ud800" * 3000, "\0" * 9000, "<" * 20_000])
def test_unusual_texts_are_accepted(text):
    assert isinstance(ends_in_loop(text), bool)
    assert isinstance(find_repetition(text), int | None)


def test_tail_suffices_to_find_a_loop():
    for loop in LOOPS.values():
        page = prose(2000) + loop

        assert ends_in_loop(page[-TAIL:]) == ends_in_loop(page)


@parametrize_texts(
    REPETITIVE_PAGES | {f"{name}, endless": text for name, text in LOOPS.items()}
)
def test_search_for_a_loop_is_fast(text):
    page = (prose(2000) + text)[-TAIL:]
    seconds = []
    for _ in range(10):
        started = time.thread_time()
        ends_in_loop(page)
        seconds.append(time.thread_time() - started)

    # Measured: 0.3 ms at most. The best of ten, as other processes share the caches.
    assert min(seconds) < 0.003
