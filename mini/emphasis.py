"""Paragraphs with words in bold or italics."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from PIL import ImageFont

from mini.fonts import load_font
from mini.pen import Pen
from mini.truth import Piece

__all__ = ["draw_emphasized_text"]


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    tag: str
    """Tag of the emphasis: "b", "i" or nothing."""
    font: ImageFont.FreeTypeFont
    is_first: bool
    """Whether the emphasis starts at this word."""


def draw_emphasized_text(pen: Pen) -> bool:
    """Draw a paragraph with emphasized words; return False if the page has no room."""
    rng = pen.rng
    text = pen.writer.write_sentence(rng, rng.randint(3, pen.domain.max_words))
    lines = _wrap_words(pen, _choose_emphasis(pen, text.split()))
    leading = pen.compute_leading(rng.uniform(1.15, 1.6))
    lines = lines[: pen.count_free_lines(leading)]
    if not lines:
        return False
    pieces = [Piece("<p>")]
    width, open_tag = 0.0, ""
    for index, line in enumerate(lines):
        x = float(pen.left)
        y = pen.y + index * leading + round(0.8 * pen.size)
        for tag, run in groupby(line, key=lambda word: (word.tag, word.font)):
            words = list(run)
            starts = words[0].is_first or tag[0] != open_tag
            drawn = pen.draw_line(" ".join(w.text for w in words), x, y, tag[1])
            if starts and open_tag:
                pieces.append(Piece(f"</{open_tag}>"))
            if len(pieces) > 1:
                pieces.append(Piece(" ", drawn[0].place))
            if starts and tag[0]:
                pieces.append(Piece(f"<{tag[0]}>"))
            open_tag = tag[0]
            pieces += drawn
            x += tag[1].getlength(" ".join(w.text for w in words) + " ")
        width = max(width, x - tag[1].getlength(" ") - pen.left)
    if open_tag:
        pieces.append(Piece(f"</{open_tag}>"))
    pieces.append(Piece("</p>"))
    top = pen.y
    pen.y += leading * (len(lines) - 1) + round(1.05 * pen.size)
    pen.add_block("Text", pieces, (pen.left, top, pen.left + width, pen.y))
    return True


def _choose_emphasis(pen: Pen, words: list[str]) -> list[_Word]:
    """Emphasize all words or some runs of words, if the typeface has the faces."""
    rng, family = pen.rng, pen.family
    tags = [tag for tag, face in (("b", family.bold), ("i", family.italic)) if face]
    emphasis = [""] * len(words)
    if tags and rng.random() < 0.3:
        emphasis = [rng.choice(tags)] * len(words)
    elif tags:
        position = rng.randint(0, 4)
        while position < len(words):
            tag, count = rng.choice(tags), rng.randint(1, 4)
            emphasis[position : position + count] = [tag] * len(
                emphasis[position : position + count]
            )
            position += count + rng.randint(1, 8)
    return _make_words(pen, words, emphasis)


def _make_words(pen: Pen, words: list[str], emphasis: list[str]) -> list[_Word]:
    fonts = {
        "": load_font(pen.family, pen.size),
        "b": load_font(pen.family, pen.size, bold=True),
        "i": load_font(pen.family, pen.size, italic=True),
    }
    before = ["", *emphasis]
    return [
        _Word(text, tag, fonts[tag], is_first=bool(tag) and tag != previous)
        for text, tag, previous in zip(words, emphasis, before, strict=False)
    ]


def _wrap_words(pen: Pen, words: list[_Word]) -> list[list[_Word]]:
    """Wrap the words into lines, and drop words that are wider than a line."""
    width = pen.right - pen.left
    lines: list[list[_Word]] = []
    used = 0.0
    for word in words:
        length = word.font.getlength(word.text)
        if length > width:
            continue
        used += word.font.getlength(" ") + length
        if lines and used <= width:
            lines[-1].append(word)
        else:
            lines.append([word])
            used = length
    return lines
