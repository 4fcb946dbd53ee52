"""Alignment of the output with a PDF's text layer, and the text after it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from handler.engine.drafts.text_layer import MAX_CHARACTERS, TextLayer, normalise_text

STORY = (
    "Of the sea\r\n"
    "The harbour lies to the north of the old town, where the\r\n"
    "river ends. Boats leave it in the morning.\r\n"
    "No one knows who built the long wall that keeps the sea\r\n"
    "out of it."
)


def align_layer(text: str, output: str) -> TextLayer:
    """Return the layer with this text, aligned with an output."""
    layer = TextLayer(text)
    visible = normalise_text(output)
    layer.align(visible, len(visible))
    return layer


def read_text_after(text: str, output: str, num_characters: int = 1000) -> str:
    """Return the layer's text after `output`, or "?" if the layer is not aligned."""
    layer = align_layer(text, output)
    return (
        layer.read_text(layer.position, num_characters).text
        if layer.is_aligned
        else "?"
    )


def test_text_is_read_up_to_the_end_of_the_paragraph():
    assert read_text_after(STORY, "Of the sea The harbour") == (
        " lies to the north of the old town, where the river ends."
        " Boats leave it in the morning."
    )


def test_a_long_paragraph_is_cut_between_words():
    assert read_text_after(STORY, "Of the sea The harbour", 14) == " lies to the"


def test_a_blank_line_ends_a_paragraph():
    assert read_text_after("one two\n\nthree", "one") == " two"


def test_short_line_before_lower_case_ends_no_paragraph():
    assert read_text_after("a line of text\nof two\nlines, or three", "a line") == (
        " of text of two lines, or three"
    )


def test_position_at_the_end_of_a_paragraph_is_reported():
    layer = align_layer(STORY, "Of the sea")

    assert layer.read_text(layer.position, 100).ends_paragraph
    assert layer.read_text(layer.position, 100).text == ""


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
def test_text_is_returned_as_a_reader_sees_it(layer, expected):
    assert read_text_after(layer, "an") == expected


@pytest.mark.parametrize(
    ("layer", "output"),
    [
        ("It\u2019s \u201cnew\u201d \u2013 so go on", 'It\'s "new" - so'),
        ("a total of12 .50 Euro, so go on", "a total of 12.50 Euro, so"),
        ("the bene\ufb01t is so go on", "the benefit is so"),
    ],
)
def test_quotes_spaces_and_ligatures_match_their_equivalents(layer, output):
    assert read_text_after(layer, output) == " go on"


def test_output_is_aligned_again_after_a_misread_word():
    assert read_text_after(STORY, "The harb0ur lies to the n") == read_text_after(
        STORY, "Of the sea The harbour lies to the n"
    )


def test_matches_after_the_last_one_are_preferred():
    layer = align_layer(
        "So it was. One so it is here. Two so it is there.", "So it was. One"
    )

    layer.align(normalise_text("0ne so it is"), 5)

    assert layer.read_text(layer.position, 6).text == " here."


def test_short_ambiguous_text_does_not_match_far_away():
    far = "x" * 2000 + " in the house, in the garden"

    assert read_text_after(far, "in the") == "?"
    assert read_text_after(far, "the gard") == "en"


def test_text_outside_the_layer_is_not_aligned():
    assert read_text_after(STORY, "Something else") == "?"


def test_new_block_starts_with_the_next_unread_line():
    layer = align_layer("Header of it\nTitle of it\nFooter of it", "Header of it")
    assert (
        layer.read_text(layer.find_next_block(layer.position), 12).text
        == " Title of it"
    )

    visible = normalise_text("Header of it Footer of it")
    layer.align(visible, len(normalise_text("Footer of it")))
    position = layer.find_next_block(layer.position)

    assert layer.read_text(position, 12).text == " Title of it"


def test_new_cell_starts_within_a_line():
    layer = align_layer("Apples 3 12.50", "Apples")

    assert (
        layer.read_text(layer.find_next_block(layer.position), 100).text == " 3 12.50"
    )


@given(st.text(st.characters() | st.sampled_from("\n-\x02 aZ\u00ad\ufffe")))
def test_text_of_any_layer_is_clean_and_encodable(text):
    layer = TextLayer(text)
    position = layer.find_next_block(layer.position)

    proposed = layer.read_text(position, MAX_CHARACTERS).text

    assert proposed.split() == proposed.split(" ") or not proposed
    proposed.encode()


@given(
    st.text("ab -\n\x02\ufb01\u00ad", max_size=60), st.text("ab \ufb01", max_size=30)
)
def test_any_output_and_any_position_are_accepted(text, output):
    layer = align_layer(text, output)

    for position in range(len(normalise_text(text)) // 2):
        layer.read_text(layer.find_next_block(position), 5)


def test_long_layer_is_cut():
    layer = TextLayer("word " * MAX_CHARACTERS)

    assert len(layer.read_text(0, 10 * MAX_CHARACTERS).text) < MAX_CHARACTERS


# Leaders


@pytest.mark.parametrize(
    "leaders", [". . . . . . .", ".......", "\u2026\u2026\u2026\u2026", "_______"]
)
@pytest.mark.parametrize(
    "output", ["", " ", "..........", ". . . . . . . . ", "______"]
)
def test_leaders_of_any_length_are_skipped(leaders, output):
    text = f"Introduction {leaders} 12\n\nThe harbour {leaders} 31"

    assert read_text_after(text, f"Introduction{output}1") == "2"
    assert read_text_after(text, "Introduction") == " 12"


def test_position_is_kept_while_leaders_are_written():
    layer = align_layer("Introduction . . . . . 12", "Introduction")

    layer.align("Introduction....", 4)

    assert layer.is_aligned
    assert layer.read_text(layer.position, 100).text == " 12"


# When the output leaves the layer's order

COLUMNS = """\
The left column has lines that go The right one too, and they
on below each other, as do those are read after the left one
of any other column. is over."""


def align_step_by_step(text: str, *pieces: str) -> TextLayer:
    """Align a layer with pieces of output, one after the other."""
    layer = TextLayer(text)
    visible = ""
    for piece in map(normalise_text, pieces):
        visible += piece
        layer.align(visible, len(piece))
    return layer


@pytest.mark.parametrize(
    ("jump", "expected"),
    [
        ("on", " below each other,"),  # The start of a line.
        ("are", " read after the left"),  # A word within a line.
        ("o", "n below each other,"),
    ],
)
def test_first_word_after_a_jump_determines_its_target(jump, expected):
    layer = align_step_by_step(COLUMNS, "The left column has lines that go", jump)

    assert layer.is_aligned
    assert layer.read_text(layer.position, 100).text.startswith(expected)


def test_wrong_jump_is_corrected_by_more_words():
    text = "Before it all.\n\nNext.\n\nThe first line.\n\nThe second line."
    layer = align_step_by_step(text, "Before it all.", "The", "second")

    assert layer.read_text(layer.position, 100).text == " line."


def test_jumps_prefer_unread_lines():
    text = "The end of one.\n\nThe end of two.\n\nSomething else."
    layer = align_step_by_step(text, "The end of one.", "Something else.", "The")

    assert layer.read_text(layer.position, 100).text == " end of two."


def test_a_wrong_jump_marks_no_line_as_read():
    text = "Before it all.\n\nNext.\n\nThe first line.\n\nThe second line."
    layer = align_step_by_step(text, "Before it all.", "The", "second line.")

    layer.align("Thesecondline.Next.", 5)
    layer.start_block()

    assert layer.read_text(layer.position, 100, begins_text=True).text == (
        " The first line."
    )


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
def test_list_item_starts_after_its_bullet_or_number(marker, text):
    layer = TextLayer(f"{marker} {text} of all")

    layer.start_block(is_item=True)

    assert layer.read_text(layer.position, 100, begins_text=True).text.strip() == (
        f"{text} of all"
    )


@pytest.mark.parametrize("text", ["First of all", "1.5 litres", "I. first", "12"])
def test_text_that_only_resembles_a_marker_is_kept(text):
    layer = TextLayer(text)

    layer.start_block(is_item=text != "I. first")

    assert layer.read_text(layer.position, 100, begins_text=True).text == text
