"""Draft tokens for speculative decoding of one page.

The model verifies each draft token, so the output does not depend on them.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Sequence
from typing import Protocol

from handler.engine.drafts.html_state import (
    BOXES_IN_BRACKETS,
    BOXES_OF_NUMBERS,
    NO_BOXES,
    Markup,
)
from handler.engine.drafts.likely_markup import closing, following
from handler.engine.drafts.ngrams import NgramProposer
from handler.engine.drafts.text_layer import Ahead, TextLayer

__all__ = ["DraftTokenizer", "Drafter"]

CHARACTERS_PER_TOKEN = 8
"""More than a token has on average: enough text for a draft of any length."""
TELLING_NGRAM = 3
"""Length of the n-grams used within text, where two tokens are too common to tell what
follows, and to extend another draft."""
MAX_CONTEXT = 8
"""Tokens of the output that are tokenised again with what may follow."""
MAX_PIECES = 8
"""Tokens one character may be made of; more are not waited for."""
MAX_BOX = 64
"""Characters of an unfinished tag within which its box would stand."""
_BOX = re.compile('data-bbox="([^"]*)')
_WORD = re.compile(r"\S+")
_NUMBER = re.compile(r"(?:^|\s)[^\w\s]?\d")
_UNFINISHED = "\ufffd"


class DraftTokenizer(Protocol):
    """Text to tokens and back, special tokens neither added nor read into text.

    The text of several tokens is the texts of each, but for characters that are
    spread over some of them.
    """

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


class Drafter:
    """Drafts the next tokens of one page.

    From the PDF's text layer, where it has one; from what the page said before;
    and from what is usual in HTML. `prompt` says how boxes are asked for.
    """

    def __init__(
        self, tokenizer: DraftTokenizer, *, text_layer: str = "", prompt: str = ""
    ) -> None:
        self._tokenizer = tokenizer
        self._layer = TextLayer(text_layer)
        self._block_start = _block_start(prompt)
        self._texts: dict[int, str] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the output: the page is read once more."""
        self._layer.rewind()
        self._ngrams = NgramProposer()
        self._markup = Markup(self._block_start)
        self._recent: list[tuple[int, str]] = []
        self._pieces: list[int] = []
        self._num_followed = 0
        self._tested: tuple[str, int] | None = None
        # What is usual in HTML, and was not what this page said the last time.
        self._refuted: set[str] = set()

    def extend(self, tokens: Sequence[int]) -> None:
        """Take note of what the model really said."""
        if tokens and self._tested is not None:
            rule, token = self._tested
            (self._refuted.discard if tokens[0] == token else self._refuted.add)(rule)
            self._tested = None
        for token in tokens:
            self._ngrams.append(token)
            text = self._text_of(token)
            self._recent.append((token, text))
            self._markup.feed(text)
        del self._recent[:-MAX_CONTEXT]

    def draft(self, max_tokens: int) -> list[int]:
        """At most so many tokens that may come next; none where it cannot tell."""
        if max_tokens <= 0:
            return []
        draft = self._propose(max_tokens)[:max_tokens]
        if draft and len(draft) < max_tokens:
            draft += self._ngrams.propose(
                max_tokens - len(draft), min_length=TELLING_NGRAM, draft=draft
            )
        return self._without_boxes(draft)

    def _propose(self, max_tokens: int) -> list[int]:
        state = self._markup
        if self._pieces or state.is_in_entity:
            return self._from_output(max_tokens)
        written_on = self._written_on(max_tokens)
        if state.expects_text or state.is_in_box:
            return written_on or self._from_output(max_tokens)
        rule = following(state)
        if written_on:
            self._tested = (rule, written_on[0])
        if rule in self._refuted:
            return self._from_output(max_tokens) or written_on
        return written_on or self._from_output(max_tokens)

    def _text_of(self, token: int) -> str:
        """What the token adds to the text; nothing while a character is unfinished."""
        if not self._pieces:
            text = self._texts.get(token)
            if text is None:
                text = self._tokenizer.decode([token])
                if not text.endswith(_UNFINISHED):
                    self._texts[token] = text
            if not text.endswith(_UNFINISHED):
                return text
        self._pieces.append(token)
        text = self._tokenizer.decode(self._pieces)
        if text.endswith(_UNFINISHED) and len(self._pieces) < MAX_PIECES:
            return ""
        self._pieces = []
        return text

    def _from_output(self, max_tokens: int) -> list[int]:
        min_length = TELLING_NGRAM if self._markup.expects_text else 2
        return self._ngrams.propose(max_tokens, min_length=min_length)

    def _written_on(self, max_tokens: int) -> list[int]:
        """The page as it goes on by its text layer and by what is usual in HTML."""
        num_characters = CHARACTERS_PER_TOKEN * max_tokens
        state = self._markup.copy()
        place = self._place()
        text = ""
        ends_word = True
        while ends_word and len(text) < num_characters:
            more = ""
            if not state.expects_text:
                more = following(state)
            elif "math" not in state.open:
                if state.begins_text and place is not None:
                    place = self._layer.next_block(place, is_item=state.is_item)
                if place is not None:
                    ahead = self._layer.ahead(
                        place,
                        num_characters - len(text),
                        begins_text=state.begins_text,
                    )
                    more, num_read = _as_html(ahead, state)
                    place += num_read
                    ends_word = ahead.ends_word
            if not more:
                break
            state.feed(more)
            text += more
        tokens = self._encoded(text)
        # The cut may have gone through what would be one token.
        return tokens if ends_word else tokens[:-1]

    def _place(self) -> int | None:
        """Where in the text layer the output has got to; None where it is not found."""
        visible, num_visible = self._markup.visible, self._markup.num_visible
        self._layer.follow(visible, num_visible - self._num_followed)
        self._num_followed = num_visible
        if self._markup.begins_text:
            self._layer.begin_block(is_item=self._markup.is_item)
        return self._layer.place if self._layer.is_found else None

    def _encoded(self, text: str) -> list[int]:
        """The tokens of text that goes on where the output ends.

        Tokenised with the end of the output, because the model's token borders
        depend on both sides: the first token of "ple" is another after "exam".
        """
        if not text:
            return []
        context: list[int] = []
        before = ""
        for token, piece in reversed(self._recent):
            context.insert(0, token)
            before = piece + before
            if piece[:1].isspace():
                break
        tokens = self._tokenizer.encode(before + text)
        if tokens[: len(context)] == context:
            return tokens[len(context) :]
        return self._tokenizer.encode(text)

    def _without_boxes(self, tokens: list[int]) -> list[int]:
        """Cut the draft before the numbers of a box, which cannot be predicted."""
        text = (self._markup.tag or "")[-MAX_BOX:]
        for i, token in enumerate(tokens):
            begin = len(text)
            text += self._tokenizer.decode([token])
            for box in _BOX.finditer(text):
                if any(map(str.isdigit, text[max(begin, box.start(1)) : box.end(1)])):
                    return tokens[:i]
        return tokens


def _as_html(ahead: Ahead, state: Markup) -> tuple[str, int]:
    """Words of the layer, closed where they end; and how many letters they have."""
    text, is_closed = ahead.text, ahead.ends_paragraph
    num_words = state.num_words_left
    number = _NUMBER.search(text) if state.ends_before_number else None
    if number is not None and number.start():
        text, is_closed = text[: number.start()], True
    elif num_words is not None:
        # What is glued to the output's end belongs to a word that is begun.
        is_glued = bool(text) and not (state.follows_space or text[0].isspace())
        end = _end_of_words(text, num_words + is_glued)
        is_closed = is_closed or end < len(text)
        text = text[:end]
    num_letters = len(text) - text.count(" ")
    if state.follows_space:
        text = text.lstrip()
    tags = ""
    if is_closed and (text or num_words == 0 or not state.begins_text):
        tags = closing(state)
    return html.escape(text, quote=False) + tags, num_letters


def _end_of_words(text: str, num_words: int) -> int:
    """The length of a text's first so many words."""
    end = 0
    for match in itertools.islice(_WORD.finditer(text), num_words):
        end = match.end()
    return end


def _block_start(prompt: str) -> str:
    if prompt and "data-bbox" not in prompt:
        return NO_BOXES
    if "x0 y0" in prompt:
        return BOXES_OF_NUMBERS
    return BOXES_IN_BRACKETS
