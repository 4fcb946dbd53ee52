"""Drafts of a page's next tokens, and the forward passes that they save."""

from __future__ import annotations

import io
from html import escape

import pytest
from hypothesis import given, settings, strategies as st
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Paragraph, SimpleDocTemplate, Table
from tokenizers import Tokenizer

from handler.engine.drafts.drafter import Drafter
from handler.weights.source import MINI
from tests.handler.engine.drafts.drafting import (
    ByteTokenizer,
    LetterTokenizer,
    count_forwards,
    draft_after,
)
from tests.handler.preprocess.reading import decode_content

BOX = '<div data-bbox="[61, 72, 983, 94]" data-label="Text">'
LAYER = """\
The first line of a letter

Dear R&D people,
we have seen it < 3 times.
"""

TITLE = "Of boats and men"
PARAGRAPHS = (
    "The harbour lies to the north of the old town, where the river ends between two "
    "hills. Boats leave it early in the morning, and most of them are back by noon "
    "with what they could find. In winter the road is often closed by snow, so that "
    "people & goods come over the water or do not come at all.",
    "No one knows who built the long wall that keeps the sea out of the lower streets. "
    "It is older than the church, and older than the oldest map, on which it is drawn "
    "with a gate that was walled up long ago. Repairs are paid for by a tax on fish, "
    "about which there has been a quarrel in every year since 1742.",
    "A visitor should come in May or in September. The inns are open then, the ferry "
    "runs twice a day, and the wind is weak enough for a walk along the wall to the "
    "lighthouse, which takes an hour and is worth it.",
)
ROWS = [
    ["Month", "Boats", "Catch", "Mean wind"],
    *(
        [month, str(31 + 7 * i), f"{812.5 + 96.25 * i:.2f}", f"{3 + i} knots"]
        for i, month in enumerate(("May", "June", "July", "August", "September"))
    ),
]


class MiniTokenizer:
    """Tokenizer of the embedded checkpoint."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(MINI / "tokenizer.json"))

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids))


@pytest.fixture(scope="module")
def mini_tokenizer():
    return MiniTokenizer()


def format_block(number: int, label: str, inner: str) -> str:
    box = [61 + number, 40 + 97 * number, 921 - 13 * number, 119 + 97 * number]
    return f'<div data-bbox="{box}" data-label="{label}">{inner}</div>'


def create_prose_page() -> tuple[str, str]:
    """Return Chandra's output for a page of plain prose, and its text layer."""
    texts = [escape(text, quote=False) for text in PARAGRAPHS]
    answer = format_block(0, "Section-Header", f"<h1>{TITLE}</h1>") + "".join(
        format_block(i, "Text", f"<p>{text}</p>")
        for i, text in enumerate(texts, start=1)
    )
    styles = getSampleStyleSheet()
    paragraphs = [Paragraph(text, styles["Normal"]) for text in texts]
    return answer, render_text_layer(Paragraph(TITLE, styles["Heading1"]), *paragraphs)


def create_table_page() -> tuple[str, str]:
    """Return Chandra's output for a page with a table, and its text layer."""
    cells = ["".join(f"<td>{cell}</td>" for cell in row) for row in ROWS]
    inner = "".join(f"<tr>{row}</tr>" for row in cells)
    return format_block(1, "Table", f"<table>{inner}</table>"), render_text_layer(
        Table(ROWS)
    )


def render_text_layer(*flowables: object) -> str:
    stream = io.BytesIO()
    SimpleDocTemplate(stream).build(list(flowables))
    return decode_content(stream.getvalue()).text_layer


# From the text layer


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (f"{BOX}<p>The first line", " of a letter"),
        (f"{BOX}<p>The first li", "ne of a letter"),
        (f"{BOX}<p>Dear R&amp;D", " people, we have seen it &lt; 3 times."),
        (f"{BOX}<p>The <b>first</b>", " line of a letter"),
        (f"{BOX}<p>The <b>", "first line of a letter"),
        (f"{BOX}<p>", "The first line of a letter"),
        (
            f"{BOX}<p>The first line of a letter</p></div>{BOX}<p>",
            "Dear R&amp;D people",
        ),
    ],
)
def test_text_of_the_layer_is_drafted(output, expected):
    assert draft_after(
        LetterTokenizer(), output, layer=LAYER, max_tokens=60
    ).startswith(expected)


def test_next_block_is_drafted_after_a_paragraph():
    output = f"{BOX}<p>The first line of a <b>letter"

    draft = draft_after(LetterTokenizer(), output, layer=LAYER)

    assert draft == '</b></p></div><div data-bbox="['


def test_drafted_cell_has_as_many_words_as_the_cell_above():
    output = f"{BOX}<table><tr><td>May 3</td><td>12</td></tr><tr><td>"

    draft = draft_after(
        LetterTokenizer(), output, layer="May 3 12\nJune 14 7\nJuly 8 1"
    )

    assert draft.startswith("June 14</td><td>7</td></tr><tr><td>July 8</td>")


def test_drafted_cell_of_words_ends_before_numbers():
    output = f"{BOX}<table><tr><td>May</td><td>12</td></tr><tr><td>"

    draft = draft_after(
        LetterTokenizer(), output, layer="May 12\nLate in June 7\nJuly 8"
    )

    assert draft.startswith("Late in June</td><td>7</td></tr>")


def test_cell_longer_than_the_one_above_is_continued():
    output = f"{BOX}<table><tr><td>May</td><td>one</td></tr><tr><td>Late in"

    draft = draft_after(LetterTokenizer(), output, layer="May one\nLate in June seven")

    assert draft.startswith(" June seven")


def test_bullet_of_a_list_item_is_not_drafted():
    layer = "! The first\n\n! The second"

    assert draft_after(LetterTokenizer(), f"{BOX}<ul><li>", layer=layer).startswith(
        "The first</li><li>The second"
    )


def test_bold_text_is_drafted_from_the_layer():
    assert draft_after(LetterTokenizer(), f"{BOX}<p><b>", layer=LAYER).startswith(
        "The first line"
    )


def test_block_in_another_order_is_found_by_its_first_word():
    layer = "Page 3 of 7\n\nThe harbour lies north."

    draft = draft_after(LetterTokenizer(), f"{BOX}<p>The", layer=layer)

    assert draft.startswith(" harbour lies north.</p>")


def test_layer_text_is_not_drafted_within_a_tag():
    draft = draft_after(LetterTokenizer(), f'{BOX}<img alt="', layer="alt of a picture")

    assert "picture" not in draft


def test_layer_text_is_not_drafted_within_a_formula():
    draft = draft_after(LetterTokenizer(), f"{BOX}<p>see <math>", layer="see x = 1")

    assert "x = 1" not in draft


def test_draft_ends_before_a_word_that_does_not_fit():
    tokenizer = LetterTokenizer()
    drafter = Drafter(tokenizer, text_layer=f"{'a' * 300} b")
    drafter.extend(tokenizer.encode(f"{BOX}<p>"))

    assert tokenizer.decode(drafter.draft(500)[:301]) == "a" * 300 + " "
    assert len(drafter.draft(10)) == 10


def test_draft_is_encoded_together_with_the_started_word():
    class Words(LetterTokenizer):
        """Tokenizer with a token for two letters of a word, counted from its start."""

        def encode(self, text: str) -> list[int]:
            pieces = [
                part
                for word in text.replace(" ", "\0 ").split("\0")
                for part in (word[i : i + 2] for i in range(0, len(word), 2))
            ]
            return [self._assign_id(piece) for piece in pieces]

    tokenizer = Words()
    drafter = Drafter(tokenizer, text_layer="an odd harbour lies there")
    tokens = tokenizer.encode(" odd harbour lies")
    drafter.extend(tokens[:5])

    assert drafter.draft(len(tokens) - 5) == tokens[5:]


# From the output


def test_without_a_text_layer_the_output_is_repeated():
    item = "<li>Item of the list</li>"

    draft = draft_after(
        LetterTokenizer(), f"{BOX}<ul>{item}{item}<li>Item", max_tokens=12
    )

    assert draft == " of the list"[: len(draft)]
    assert draft


def test_markup_of_the_page_overrides_the_usual_markup():
    row = "<table><tr><td>1</td></tr></table></div>"
    page = f"{BOX}<table><tbody>{row}\n{BOX}<table><tbody>{row}\n{BOX}<table>"
    tokenizer = LetterTokenizer()
    drafter = Drafter(tokenizer)
    count_forwards(drafter, tokenizer.encode(page), 8)

    assert tokenizer.decode(drafter.draft(1)) == "<tbody>"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", '<div data-bbox="['),
        ("a data-bbox attribute in [x0, y0, x1, y1] format", '<div data-bbox="['),
        ("a data-bbox attribute, four integers x0 y0 x1 y1", '<div data-bbox="'),
        ("OCR this image to HTML.", ""),
    ],
)
def test_block_start_depends_on_the_prompt(prompt, expected):
    assert draft_after(LetterTokenizer(), "", prompt=prompt) == expected


def test_the_numbers_of_a_box_are_not_drafted():
    page = f"{BOX}<p>one</p></div>{BOX}<p>two</p></div>"

    assert draft_after(LetterTokenizer(), page, max_tokens=60) == '<div data-bbox="['
    assert draft_after(LetterTokenizer(), f'{page}<div data-bbox="[') == ""
    assert draft_after(LetterTokenizer(), f'{page}<div data-bbox="[612') == ", "


def test_reset_drafter_drafts_like_a_new_one():
    tokenizer = LetterTokenizer()
    answer, layer = create_prose_page()
    tokens = tokenizer.encode(answer)
    drafter = Drafter(tokenizer, text_layer=layer)
    first = count_forwards(drafter, tokens, 8)

    drafter.reset()

    assert count_forwards(drafter, tokens, 8) == first


# Saved forward passes


@pytest.mark.parametrize("max_tokens", [4, 8, 16])
def test_prose_with_a_layer_takes_half_the_forwards_at_most(mini_tokenizer, max_tokens):
    answer, layer = create_prose_page()
    tokens = mini_tokenizer.encode(answer)

    drafter = Drafter(mini_tokenizer, text_layer=layer)

    assert count_forwards(drafter, tokens, max_tokens) < len(tokens) / 2


def test_table_with_a_layer_takes_half_the_forwards_at_most(mini_tokenizer):
    answer, layer = create_table_page()
    tokens = mini_tokenizer.encode(answer)

    assert (
        count_forwards(Drafter(mini_tokenizer, text_layer=layer), tokens, 8)
        < len(tokens) / 2
    )


def test_prose_of_letter_tokens_takes_a_fifth_of_the_forwards():
    tokenizer = LetterTokenizer()
    answer, layer = create_prose_page()
    tokens = tokenizer.encode(answer)

    num_forwards = count_forwards(Drafter(tokenizer, text_layer=layer), tokens, 8)

    assert num_forwards < len(tokens) / 5


@pytest.mark.parametrize("create_page", [create_prose_page, create_table_page])
def test_page_without_a_layer_saves_forwards(mini_tokenizer, create_page):
    answer, _ = create_page()
    tokens = mini_tokenizer.encode(answer)

    assert count_forwards(Drafter(mini_tokenizer), tokens, 8) < len(tokens)


def test_unrelated_layer_adds_no_forwards(mini_tokenizer):
    answer, _ = create_prose_page()
    tokens = mini_tokenizer.encode(answer)

    assert count_forwards(
        Drafter(mini_tokenizer, text_layer="lorem " * 999), tokens, 8
    ) <= len(tokens)


def test_layer_in_another_order_saves_forwards():
    tokenizer = LetterTokenizer()
    answer, layer = create_prose_page()
    lines = layer.splitlines()
    shuffled = "\n".join(lines[7:] + lines[:7])
    tokens = tokenizer.encode(answer)

    num_forwards = count_forwards(Drafter(tokenizer, text_layer=shuffled), tokens, 8)

    assert num_forwards < len(tokens) / 4


# Arbitrary input

ODD_TEXT = st.text(
    st.characters() | st.sampled_from('<>&;/"=[]- \n\x00\x02\ud800\ufb01\u00ad\u00e9')
)
MARKUP = st.sampled_from(
    (
        *("<p>", "</p>", "</div>", "<table><tr><td>", "</td>", "&amp;", "&", "<", BOX),
        *(
            "<br>",
            '<div data-bbox="[',
            "12, ",
            ']" data-label="',
            "word ",
            "<math>",
            "\u00e9",
        ),
    )
)
OUTPUT = st.lists(MARKUP | st.text(max_size=3), max_size=30).map(
    lambda parts: "".join(parts).encode(errors="replace")
)


@given(ODD_TEXT, OUTPUT, st.integers(-1, 20), st.integers(1, 5))
@settings(deadline=None)
def test_any_input_gives_a_draft_within_the_limit(layer, output, length, stride):
    drafter = Drafter(ByteTokenizer(), text_layer=layer)

    for start in range(0, len(output), stride):
        assert len(drafter.draft(length)) <= max(0, length)
        drafter.extend(list(output[start : start + stride]))
    assert len(drafter.draft(length)) <= max(0, length)


@given(ODD_TEXT, OUTPUT, st.integers(1, 7))
@settings(deadline=None)
def test_output_extended_in_pieces_gives_the_same_draft(layer, output, stride):
    whole = Drafter(ByteTokenizer(), text_layer=layer)
    pieces = Drafter(ByteTokenizer(), text_layer=layer)

    whole.extend(list(output))
    for start in range(0, len(output), stride):
        pieces.extend(list(output[start : start + stride]))

    assert pieces.draft(16) == whole.draft(16)


def test_invalid_bytes_do_not_block_drafts():
    drafter = Drafter(ByteTokenizer(), text_layer="some words that come next")

    drafter.extend([0xFF] * 20)
    drafter.extend(list(b"<p>some words"))

    assert drafter.draft(10) == list(b" that come")


def test_long_layer_is_accepted():
    drafter = Drafter(ByteTokenizer(), text_layer="word \x00<p>&" * 500_000)

    drafter.extend(list(b"<p>word"))

    assert drafter.draft(5) == list(b" &lt;")


def test_repeated_tags_are_drafted():
    tokenizer = LetterTokenizer()
    drafter = Drafter(tokenizer)
    tokens = tokenizer.encode("<div><p>" * 4000)

    drafter.extend(tokens)

    assert drafter.draft(4) == tokens[:4]
