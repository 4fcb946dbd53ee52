"""Parser state of partial HTML, and the prediction of the next markup."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from handler.engine.drafts.html_state import BOXES_OF_NUMBERS, NO_BOXES, HTMLState
from handler.engine.drafts.likely_markup import closing_tags, predict_markup

BOX = '<div data-bbox="[1, 2, 3, 4]" data-label="Text">'
HTML_TEXTS = st.lists(
    st.sampled_from(
        (
            *("<", ">", "&", ";", "/", '"', "p", "div", "td", "tr", "#", "x", " "),
            *("<p>", "</p>", "<div>", "</div>", "<table>", "<tr>", "<td>", "</td>"),
            *('<div data-bbox="[12, ', "data-label=", "&lt;", "\u00e9", "\ufb01"),
        )
    )
    | st.text(max_size=3),
    max_size=40,
).map("".join)


def parse(html: str, block_start: str = '<div data-bbox="[') -> HTMLState:
    state = HTMLState(block_start)
    state.feed(html)
    return state


def test_visible_text_has_no_tags_and_no_entities():
    state = parse(f"{BOX}<p>Salt &amp; <b>pepper</b>: 1 &lt; 2 &#8364;</p>")

    assert state.visible == "Salt&pepper:1<2\u20ac"
    assert state.num_visible == len(state.visible)


@pytest.mark.parametrize("text", ["AT&T ", "1 < 2 ", "a & b ", "&nothingofthatkind "])
def test_text_that_only_resembles_markup_is_visible(text):
    assert parse(text).visible == text.replace(" ", "")


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("", False),
        (BOX, False),
        (f"{BOX}<p>", True),
        (f"{BOX}<p", False),
        (f"{BOX}<p>word", True),
        (f"{BOX}<p>word <b>bold</b>", True),
        (f"{BOX}<p>word<br>", True),
        (f"{BOX}<p>word</p>", False),
        (f"{BOX}<table><tr>", False),
        (f"{BOX}<table><tr><td>", True),
        (f"{BOX}<p>word</p></div>\n", False),
    ],
)
def test_text_is_expected_where_html_has_text(html, expected):
    assert parse(html).expects_text is expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("", '<div data-bbox="['),
        ("<di", 'v data-bbox="['),
        ('<div data-bbox="[', ""),
        ('<div data-bbox="[12', ""),
        ('<div data-bbox="[123', ", "),
        ('<div data-bbox="[123,', " "),
        ('<div data-bbox="[1, 2, 3, 456', ']" data-label="'),
        ('<div data-bbox="[1, 2, 3, 4]', '" data-label="'),
        ('<div data-bbox="[1, 2, 3, 4]" da', 'ta-label="'),
        ('<div data-bbox="[1, 2, 3, 4]" data-label="', 'Text"><p>'),
        ('<div data-bbox="[1, 2, 3, 4]" data-label="Tab', 'le"><table>'),
        ('<div data-bbox="[1, 2, 3, 4]" data-label="Section-Header"', "><h"),
        (BOX, "<p>"),
        (f"{BOX}<p>word</", 'p></div><div data-bbox="['),
        (f"{BOX}<p>word</p>", '</div><div data-bbox="['),
        (f"{BOX}<ul><li>one</li>", "<li>"),
        (f"{BOX}<table>", "<tr><td>"),
        (f"{BOX}<table><tr><td>1</td><td>2</td></tr><tr><td>3</td>", "<td>"),
        (f"{BOX}<table><tr><td>1</td></tr><tr><td>2</td>", "</tr><tr><td>"),
        (f"{BOX}<p>one</p></div>\n{BOX}<p>two</p></div>", '<div data-bbox="['),
        (f"{BOX}<p>one<br", ">"),
        (f"{BOX}<table><tr><td>1</td><", "td>"),
        (f"{BOX}<p><", "b>"),
        (f"{BOX}<p>a <i>b</i></p><p><", "i>"),
        (f"{BOX}<ul><li><p>one</p>", "</li><li>"),
        (f"{BOX}<table><tr><td>1</td></tr><tr><td><p>2</p>", "</td></tr><tr><td>"),
        (f"{BOX}<table><thead><tr><th>1</th>", "<th>"),
        (f"{BOX}<table><tr><td><b>1</b></td>", "<td><b>"),
        (f"{BOX}<table><tr><td><b>1</b></td></tr><tr>", "<td>"),
        ("<img al", ""),
    ],
)
def test_next_markup_is_predicted(html, expected):
    assert predict_markup(parse(html)) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("", '<div data-bbox="'),
        ('<div data-bbox="12', ""),
        ('<div data-bbox="123', " "),
        ('<div data-bbox="1 2 3 456', '" data-label="'),
        ('<div data-bbox="1 2 3 4" data-la', 'bel="'),
    ],
)
def test_boxes_without_brackets_are_predicted(html, expected):
    assert predict_markup(parse(html, BOXES_OF_NUMBERS)) == expected


def test_without_boxes_no_block_start_is_predicted():
    assert predict_markup(parse("", NO_BOXES)) == ""
    assert predict_markup(parse("<p>word</p>", NO_BOXES)) == ""


def test_first_tags_of_a_label_are_those_of_the_last_block():
    title = BOX.replace("Text", "Section-Header")
    page = f"{title}<h3><b>One</b></h3></div>{BOX}<p>word</p></div>{title}"

    assert predict_markup(parse(page)) == "<h3><b>"


@pytest.mark.parametrize(
    ("labels", "begun", "expected"),
    [
        ("Section-Header", "", "Text"),
        ("Caption", "", "Table"),
        ("Page-Header Text", "Page", "Page-Footer"),
        ("Page-Header", "Page", "Page-Header"),
        ("Caption Figure Caption", "", "Figure"),
    ],
)
def test_next_label_is_the_one_that_followed_before(labels, begun, expected):
    blocks = (BOX.replace("Text", label) + "</div>" for label in labels.split())
    state = parse("".join(blocks) + BOX.partition("Text")[0] + begun)

    assert (begun + predict_markup(state)).startswith(f'{expected}">')


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (f"{BOX}<p>word", "</p>"),
        (f"{BOX}<p>a <b><i>word", "</i></b></p>"),
        (f"{BOX}<table><tr><td>1", "</td>"),
        (f"{BOX}word", ""),
        ("word", ""),
    ],
)
def test_closing_tags_close_a_paragraph_and_its_inline_tags(html, expected):
    assert closing_tags(parse(html)) == expected


def test_words_left_in_a_cell_follow_the_cell_above():
    above = f"{BOX}<table><tr><td>two words</td><td>1</td></tr><tr><td>"

    assert parse(above).num_words_left == 2
    assert parse(f"{above}on").num_words_left == 1
    assert parse(f"{above}one of three").num_words_left is None
    assert parse(f"{above}two more</td><td>").num_words_left == 1
    assert parse(f"{BOX}<table><tr><td>").num_words_left is None


def test_cell_ends_before_a_number_like_the_row_above():
    above = f"{BOX}<table><tr><td>two words</td><td>1</td><td>2</td></tr><tr><td>"

    assert parse(above).ends_before_number
    assert parse(f"{above}a much longer").ends_before_number
    assert not parse(f"{above}article 7").ends_before_number
    assert not parse(f"{above}one</td><td>").ends_before_number
    assert not parse(f"{BOX}<table><tr><td>").ends_before_number


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (f"{BOX}<ul><li>", True),
        (f"{BOX}<ul><li><b>", True),
        (f"{BOX}<ul><li><p>", False),
        (f"{BOX}<p>", False),
    ],
)
def test_text_of_a_list_item_is_recognised(html, expected):
    assert parse(html).is_item is expected


def test_bold_text_can_begin_a_paragraph():
    assert parse(f"{BOX}<p><b>").begins_text
    assert not parse(f"{BOX}<p>a <b>").begins_text


def test_feeding_a_copy_does_not_change_the_original():
    state = parse(f"{BOX}<table><tr><td>1</td>")

    state.copy().feed('<td>2</td></tr></table></div><div data-label="Form"><b>x')

    assert state.open == ["div", "table", "tr"]
    assert state.first_tags == {"Text": "<table><tr><td>"}
    assert predict_markup(state) == "<td>"


@given(HTML_TEXTS, st.data())
def test_html_fed_in_pieces_gives_the_same_state(html, data):
    cut = data.draw(st.integers(0, len(html)))
    pieces = HTMLState()
    for piece in (html[:cut], html[cut:]):
        pieces.feed(piece)
    whole = parse(html)

    assert (pieces.tag, pieces.open, pieces.visible) == (
        whole.tag,
        whole.open,
        whole.visible,
    )
    assert pieces.num_words_left == whole.num_words_left
    assert pieces.expects_text == whole.expects_text
    assert predict_markup(pieces) == predict_markup(whole)


def test_repeated_tags_do_not_grow_the_prediction():
    state = parse("<div>" * 5000 + "<p>" * 5000)

    assert len(closing_tags(state) + predict_markup(state)) < 1000
