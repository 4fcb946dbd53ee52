"""Where in a PDF's text layer a page is, and what comes next there."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from handler.engine.drafts.text_layer import MAX_CHARACTERS, TextLayer, comparable

STORY = (
    "Of the sea\r\n"
    "The harbour lies to the north of the old town, where the\r\n"
    "river ends. Boats leave it in the morning.\r\n"
    "Nobody knows who built the long wall that keeps the sea\r\n"
    "out of it."
)


def layer_at(text: str, written: str) -> TextLayer:
    layer = TextLayer(text)
    visible = comparable(written)
    layer.follow(visible, len(visible))
    return layer


def ahead(text: str, written: str, num_characters: int = 1000) -> str:
    layer = layer_at(text, written)
    return layer.ahead(layer.place, num_characters).text if layer.is_found else "?"


def test_what_follows_goes_on_up_to_a_paragraphs_end():
    assert ahead(STORY, "Of the sea The harbour") == (
        " lies to the north of the old town, where the river ends."
        " Boats leave it in the morning."
    )


def test_a_long_paragraph_is_cut_between_words():
    assert ahead(STORY, "Of the sea The harbour", 14) == " lies to the"


def test_a_blank_line_ends_a_paragraph():
    assert ahead("one two\n\nthree", "one") == " two"


def test_a_short_line_before_a_small_letter_ends_none():
    assert ahead("a line of text\nof two\nlines, or three", "a line") == (
        " of text of two lines, or three"
    )


def test_the_end_of_a_paragraph_is_told():
    layer = layer_at(STORY, "Of the sea")

    assert layer.ahead(layer.place, 100).ends_paragraph
    assert layer.ahead(layer.place, 100).text == ""


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("an exam-\nple here", " example here"),
        ("an exam\u00ad\nple here", " example here"),
        ("an exam\x02ple here", " example here"),
        ("an exam\ufffeple here", " example here"),
        ("an Anglo-\nSaxon word", " Anglo-Saxon word"),
        ("an in\u00advis\u00adible one", " invisible one"),
        ("an o\ufb03ce of \ufb01ve", " office of five"),
        ("an odd\u00a0\u2009 \u3000space\u200b", " odd space"),
        ("an even \x00number \ud800of \ue000them", " even number of them"),
        ("an e\u0301tude", " \u00e9tude"),
    ],
)
def test_text_is_proposed_as_a_reader_sees_it(layer, expected):
    assert ahead(layer, "an") == expected


@pytest.mark.parametrize(
    ("layer", "written"),
    [
        ("It\u2019s \u201cnew\u201d \u2013 so go on", 'It\'s "new" - so'),
        ("a total of12 .50 Euro, so go on", "a total of 12.50 Euro, so"),
        ("the bene\ufb01t is so go on", "the benefit is so"),
    ],
)
def test_quotes_spaces_and_ligatures_do_not_keep_text_from_matching(layer, written):
    assert ahead(layer, written) == " go on"


def test_after_a_misread_word_the_place_is_found_again():
    assert ahead(STORY, "The harb0ur lies to the n") == ahead(
        STORY, "Of the sea The harbour lies to the n"
    )


def test_the_place_after_the_last_match_is_preferred():
    layer = layer_at(
        "So it was. One so it is here. Two so it is there.", "So it was. One"
    )

    layer.follow(comparable("0ne so it is"), 5)

    assert layer.ahead(layer.place, 6).text == " here."


def test_a_few_letters_that_stand_everywhere_do_not_match_far_away():
    far = "x" * 2000 + " in the house, in the garden"

    assert ahead(far, "in the") == "?"
    assert ahead(far, "the gard") == "en"


def test_what_is_not_in_the_layer_is_not_found():
    assert ahead(STORY, "Something else") == "?"


def test_a_new_block_begins_with_the_next_line_that_was_not_read():
    layer = layer_at("Header of it\nTitle of it\nFooter of it", "Header of it")
    assert layer.ahead(layer.next_block(layer.place), 12).text == " Title of it"

    visible = comparable("Header of it Footer of it")
    layer.follow(visible, len(comparable("Footer of it")))
    place = layer.next_block(layer.place)

    assert layer.ahead(place, 12).text == " Title of it"


def test_a_new_cell_begins_within_a_line():
    layer = layer_at("Apples 3 12.50", "Apples")

    assert layer.ahead(layer.next_block(layer.place), 100).text == " 3 12.50"


@given(st.text(st.characters() | st.sampled_from("\n-\x02 aZ\u00ad\ufffe")))
def test_whatever_the_layer_holds_what_it_proposes_can_be_compared(text):
    layer = TextLayer(text)
    place = layer.next_block(layer.place)

    proposed = layer.ahead(place, MAX_CHARACTERS).text

    assert proposed.split() == proposed.split(" ") or not proposed
    proposed.encode()


@given(
    st.text("ab -\n\x02\ufb01\u00ad", max_size=60), st.text("ab \ufb01", max_size=30)
)
def test_whatever_is_written_the_layer_keeps_its_place(text, written):
    layer = layer_at(text, written)

    for place in range(len(comparable(text)) // 2):
        layer.ahead(layer.next_block(place), 5)


def test_megabytes_are_cut():
    layer = TextLayer("word " * MAX_CHARACTERS)

    assert len(layer.ahead(0, 10 * MAX_CHARACTERS).text) < MAX_CHARACTERS


# What is drawn for the eye


@pytest.mark.parametrize(
    "leaders", [". . . . . . .", ".......", "\u2026\u2026\u2026\u2026", "_______"]
)
@pytest.mark.parametrize(
    "written", ["", " ", "..........", ". . . . . . . . ", "______"]
)
def test_leaders_are_passed_over_however_many_there_are(leaders, written):
    text = f"Introduction {leaders} 12\n\nThe harbour {leaders} 31"

    assert ahead(text, f"Introduction{written}1") == "2"
    assert ahead(text, "Introduction") == " 12"


def test_a_place_is_kept_while_leaders_are_written():
    layer = layer_at("Introduction . . . . . 12", "Introduction")

    layer.follow("Introduction....", 4)

    assert layer.is_found
    assert layer.ahead(layer.place, 100).text == " 12"


# When the output leaves the layer's order

COLUMNS = """\
The left column has lines that go The right one too, and they
on below each other, as do those are read after the left one
of any other column. is over."""


def followed(text: str, *pieces: str) -> TextLayer:
    """A layer after pieces of output that were shown one by one."""
    layer = TextLayer(text)
    visible = ""
    for piece in map(comparable, pieces):
        visible += piece
        layer.follow(visible, len(piece))
    return layer


@pytest.mark.parametrize(
    ("jump", "expected"),
    [
        ("on", " below each other,"),  # to where a line begins
        ("are", " read after the left"),  # to a word
        ("o", "n below each other,"),
    ],
)
def test_the_first_word_behind_a_jump_tells_where_to(jump, expected):
    layer = followed(COLUMNS, "The left column has lines that go", jump)

    assert layer.is_found
    assert layer.ahead(layer.place, 100).text.startswith(expected)


def test_a_jump_that_was_wrong_is_made_again_with_more_words():
    text = "Before it all.\n\nNext.\n\nThe first line.\n\nThe second line."
    layer = followed(text, "Before it all.", "The", "second")

    assert layer.ahead(layer.place, 100).text == " line."


def test_a_line_that_was_read_is_not_jumped_to():
    text = "The end of one.\n\nThe end of two.\n\nSomething else."
    layer = followed(text, "The end of one.", "Something else.", "The")

    assert layer.ahead(layer.place, 100).text == " end of two."


def test_a_wrong_jump_marks_no_line_as_read():
    text = "Before it all.\n\nNext.\n\nThe first line.\n\nThe second line."
    layer = followed(text, "Before it all.", "The", "second line.")

    layer.follow("Thesecondline.Next.", 5)
    layer.begin_block()

    assert layer.ahead(layer.place, 100, begins_text=True).text == (" The first line.")


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ("\u2022", "First"),
        ("!", "First"),
        ("1.", "First"),
        ("(b)", "First"),
        ("iv)", "First"),
        ("-", "First"),
    ],
)
def test_an_item_begins_behind_its_bullet_or_number(marker, text):
    layer = TextLayer(f"{marker} {text} of all")

    layer.begin_block(is_item=True)

    assert layer.ahead(layer.place, 100, begins_text=True).text.strip() == (
        f"{text} of all"
    )


@pytest.mark.parametrize("text", ["First of all", "1.5 litres", "I. first", "12"])
def test_what_is_no_marker_stays(text):
    layer = TextLayer(text)

    layer.begin_block(is_item=text != "I. first")

    assert layer.ahead(layer.place, 100, begins_text=True).text == text
