"""Joining of the blocks of a page's strips."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings, strategies as st

from handler.postprocess import (
    ConversionOptions,
    PageGeometry,
    StripAnswer,
    convert_strips,
)
from handler.profiles import BboxFormat
from handler.schema import Strip

WIDTH = 100


def convert_answers(*answers, rotation=0, include_images=False):
    """Return the content of the page that has the strips of the answers."""
    width, height = WIDTH, max(answer.strip.box[3] for answer in answers)
    if rotation % 180:
        width, height = height, width
    return convert_strips(
        answers,
        PageGeometry(1, width, height, BboxFormat.JSON_1024, rotation),
        ConversionOptions("ocr_layout", include_images=include_images),
    )


def make_strip_block(strip, top, bottom, inner, label="Text"):
    """Return the HTML of a block as a model writes it for a strip.

    `top` and `bottom` are pixels of the page, and `inner` is the block's content.
    """
    scale = 1024 / strip.height
    y0, y1 = (round((row - strip.box[1]) * scale, 3) for row in (top, bottom))
    return f'<div data-bbox="[0, {y0}, 1024, {y1}]" data-label="{label}">{inner}</div>'


def make_strip(top, bottom, overlap=0, is_continuation=False):
    return Strip((0, top, WIDTH, bottom), overlap, is_continuation)


def test_boxes_of_strips_are_in_page_pixels():
    first, second = make_strip(0, 1000), make_strip(1000, 1500)

    content = convert_answers(
        StripAnswer(first, make_strip_block(first, 100, 200, "<p>one</p>")),
        StripAnswer(second, make_strip_block(second, 1100, 1300, "<p>two</p>")),
    )

    boxes = [block.bbox for block in content.blocks]
    assert boxes == [(0, 100, WIDTH, 200), (0, 1100, WIDTH, 1300)]
    assert content.text == "one\n\ntwo"


def test_paragraph_parted_by_a_cut_is_joined():
    first = make_strip(0, 1000)
    second = make_strip(1000, 2000, is_continuation=True)

    content = convert_answers(
        StripAnswer(first, make_strip_block(first, 800, 990, "<p>The ferry</p>")),
        StripAnswer(
            second,
            make_strip_block(second, 1010, 1100, "<p>left at <b>9.40</b>.</p>")
            + make_strip_block(second, 1200, 1300, "<p>Next.</p>"),
        ),
    )

    assert content.text == "The ferry left at 9.40.\n\nNext."
    assert content.blocks[0].bbox == (0, 800, WIDTH, 1100)


def test_paragraphs_of_separate_strips_stay_apart():
    first, second = make_strip(0, 1000), make_strip(1000, 2000)

    content = convert_answers(
        StripAnswer(first, make_strip_block(first, 800, 990, "<p>One.</p>")),
        StripAnswer(second, make_strip_block(second, 1010, 1100, "<p>Two.</p>")),
    )

    assert len(content.blocks) == 2


def test_table_parted_by_a_cut_is_joined():
    first = make_strip(0, 1000)
    second = make_strip(1000, 2000, is_continuation=True)
    table = "<table><tbody><tr><td>{}</td></tr></tbody></table>"

    content = convert_answers(
        StripAnswer(
            first, make_strip_block(first, 800, 990, table.format("a"), "Table")
        ),
        StripAnswer(
            second, make_strip_block(second, 1010, 1100, table.format("b"), "Table")
        ),
    )

    [block] = content.blocks
    assert block.html.count("<table>") == 1
    assert content.text == "a\nb"


def test_paragraph_across_an_overlap_is_joined_once():
    first = make_strip(0, 1000)
    second = make_strip(900, 2000, overlap=100, is_continuation=True)

    content = convert_answers(
        StripAnswer(
            first, make_strip_block(first, 700, 1000, "<p>a b c d e f g h tvvo</p>")
        ),
        StripAnswer(
            second, make_strip_block(second, 900, 1200, "<p>iuio e f g h two i j k</p>")
        ),
    )

    assert content.text == "a b c d e f g h two i j k"


def test_table_across_an_overlap_is_joined_once():
    first = make_strip(0, 1000)
    second = make_strip(790, 2000, overlap=210, is_continuation=True)

    def table(*rows):
        cells = "".join(f"<tr><td>row {r}</td><td>value {r}</td></tr>" for r in rows)
        return f"<table><tbody>{cells}</tbody></table>"

    content = convert_answers(
        StripAnswer(
            first, make_strip_block(first, 500, 990, table(1, 2, 3, 4, 5), "Table")
        ),
        StripAnswer(
            second, make_strip_block(second, 795, 1180, table(4, 5, 6, 7), "Table")
        ),
    )

    [block] = content.blocks
    assert block.html.count("<table>") == 1
    rows = [f"row {row}\tvalue {row}" for row in range(1, 8)]
    assert content.text.splitlines() == rows


def test_blocks_are_not_joined_across_a_failed_strip():
    first = make_strip(0, 1000)
    third = make_strip(2000, 3000, is_continuation=True)

    content = convert_answers(
        StripAnswer(first, make_strip_block(first, 800, 1000, "<p>one</p>")),
        StripAnswer(third, make_strip_block(third, 2000, 2100, "<p>two</p>")),
    )

    assert content.text == "one\n\ntwo"


def test_figures_are_numbered_across_strips():
    first, second = make_strip(0, 1000), make_strip(1000, 2000)
    figure = '<img alt="a map">'

    content = convert_answers(
        StripAnswer(first, make_strip_block(first, 100, 200, figure, "Image")),
        StripAnswer(second, make_strip_block(second, 1100, 1200, figure, "Image")),
        include_images=True,
    )

    assert content.figures == {
        "page-1-figure-1.webp": (0, 100, WIDTH, 200),
        "page-1-figure-2.webp": (0, 1100, WIDTH, 1200),
    }


def test_figure_in_the_overlap_is_cut_out_once():
    first = make_strip(0, 1000)
    second = make_strip(800, 2000, overlap=200, is_continuation=True)
    figure = '<img alt="a map of the island">'

    content = convert_answers(
        StripAnswer(first, make_strip_block(first, 820, 980, figure, "Image")),
        StripAnswer(second, make_strip_block(second, 822, 981, figure, "Image")),
        include_images=True,
    )

    assert len(content.blocks) == len(content.figures) == 1


@pytest.mark.parametrize(
    ("rotation", "boxes"),
    [
        (90, [(100, 0, 200, 100), (1100, 0, 1300, 100)]),
        (180, [(0, 1300, 100, 1400), (0, 200, 100, 400)]),
        (270, [(1300, 0, 1400, 100), (200, 0, 400, 100)]),
    ],
)
def test_boxes_of_strips_are_turned_back_to_the_sent_page(rotation, boxes):
    first, second = make_strip(0, 1000), make_strip(1000, 1500)

    content = convert_answers(
        StripAnswer(first, make_strip_block(first, 100, 200, "one")),
        StripAnswer(second, make_strip_block(second, 1100, 1300, "two")),
        rotation=rotation,
    )

    assert [block.bbox for block in content.blocks] == boxes


def test_text_without_boxes_is_kept_in_order():
    strips = [make_strip(0, 1000), make_strip(900, 2000, 100, True)]

    content = convert_answers(
        *(StripAnswer(s, f"part {n}") for n, s in enumerate(strips))
    )

    assert content.text == "part 0\n\npart 1"


def write_strip_output(strip, lines, group):
    """Return the output of a faultless model for a strip, as paragraphs.

    `lines` are the tops and bottoms of the page's lines, in pixels. Up to `group` lines
    form a paragraph. Lines that the edge of the strip cuts are read as other words.
    """
    _, low, _, high = strip.box
    visible_lines = [
        n for n, (top, bottom) in enumerate(lines) if bottom > low and top < high
    ]
    html = ""
    for _, members in itertools.groupby(
        visible_lines, key=lambda number: number // group
    ):
        numbers = list(members)
        words = " ".join(
            f"w{n}a w{n}b w{n}c"
            if low <= lines[n][0] and lines[n][1] <= high
            else f"cut{n}at{low}"
            for n in numbers
        )
        top, bottom = max(low, lines[numbers[0]][0]), min(high, lines[numbers[-1]][1])
        html += make_strip_block(strip, top, bottom, f"<p>{words}</p>")
    return html


@settings(max_examples=30, deadline=None)
@given(
    period=st.integers(1, 12),
    first_repeated=st.integers(0, 100),
    height=st.integers(12, 40),
    is_table=st.booleans(),
    error=st.integers(-3, 3),
)
def test_repeated_rows_at_a_seam_are_each_kept_once(
    period, first_repeated, height, is_table, error
):
    """Boxes of tables and paragraphs are off by `error` pixels."""
    num_rows = 196
    first = make_strip(0, 100 * height)
    second = make_strip(96 * height, num_rows * height, 4 * height, True)

    def text_of_row(row):
        return f"open {row % period}" if row >= first_repeated else f"number {row}"

    def make_answer(strip, rows):
        texts = [text_of_row(row) for row in rows]
        cells = "".join(f"<tr><td>{text}</td></tr>" for text in texts)
        inner = (
            f"<table><tbody>{cells}</tbody></table>"
            if is_table
            else f"<p>{'<br>'.join(texts)}</p>"
        )
        top, bottom = rows[0] * height, rows[-1] * height + height
        top, bottom = max(top + error, strip.box[1]), min(bottom + error, strip.box[3])
        label = "Table" if is_table else "Text"
        return StripAnswer(strip, make_strip_block(strip, top, bottom, inner, label))

    content = convert_answers(
        make_answer(first, range(100)), make_answer(second, range(96, num_rows))
    )

    rows = [row for row in content.text.splitlines() if row.strip()]
    assert rows == [text_of_row(row) for row in range(num_rows)]


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 30), min_size=20, max_size=50),
    height=st.integers(10, 24),
    length=st.integers(200, 600),
    group=st.integers(1, 6),
)
def test_joined_strips_have_each_line_once_in_order(gaps, height, length, group):
    """Strips of equal length overlap by four line heights.

    A line that the edge of a strip cuts is read as other words. Up to `group` adjacent
    lines form a paragraph. Gaps are at most two line heights: then each overlap shows
    at least one whole line, at which the strips can be joined.
    """
    lines, end = [], 0
    for gap in gaps:
        top = end + min(gap, 2 * height)
        end = top + height
        lines.append((top, end))
    overlap = 4 * height
    strips = [make_strip(0, min(length, end))]
    while strips[-1].box[3] < end:
        top = strips[-1].box[3] - overlap
        strips.append(make_strip(top, min(top + length, end), overlap, True))

    answers = [
        StripAnswer(strip, write_strip_output(strip, lines, group)) for strip in strips
    ]

    text = " ".join(convert_answers(*answers).text.split())
    expected = " ".join(f"w{n}a w{n}b w{n}c" for n in range(len(lines)))
    assert text == expected


def test_overlap_without_a_whole_line_loses_no_line():
    first = make_strip(0, 200)
    second = make_strip(160, 400, overlap=40, is_continuation=True)
    # The second strip cuts the line at 154, and the first strip the line at 191.
    lines = [(100, 110), (154, 164), (191, 201), (240, 250)]

    content = convert_answers(
        StripAnswer(first, write_strip_output(first, lines, group=6)),
        StripAnswer(second, write_strip_output(second, lines, group=6)),
    )

    words = content.text.split()
    assert [word for word in words if word.startswith("w")] == [
        f"w{number}{letter}" for number in range(4) for letter in "abc"
    ]


def test_joining_keeps_inner_labels_of_a_complex_block():
    first, second = make_strip(0, 1000), make_strip(900, 1500, overlap=100)
    shared = '<div data-label="Text"><p>shared words of both</p></div>'
    top = f'<div><div data-label="Section-Header"><h2>Top</h2></div>{shared}</div>'

    content = convert_answers(
        StripAnswer(first, make_strip_block(first, 800, 1000, top, "Complex-Block")),
        StripAnswer(
            second, make_strip_block(second, 900, 950, shared, "Complex-Block")
        ),
    )

    assert content.text == "Top\n\nshared words of both"
    assert content.blocks[0].html == top
