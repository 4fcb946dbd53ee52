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
    HTMLState,
)
from handler.engine.drafts.likely_markup import closing_tags, predict_markup
from handler.engine.drafts.ngrams import NgramProposer
from handler.engine.drafts.text_layer import LayerText, TextLayer

__all__ = ["DraftTokenizer", "Drafter"]

CHARACTERS_PER_TOKEN = 8
"""More than the average, so that the text suffices for a draft of any length."""
MIN_TEXT_NGRAM = 3
"""Length of the n-grams used within text, where two tokens are too common to tell what
follows, and to extend another draft."""
MAX_CONTEXT = 8
"""Maximum tokens of the output that are encoded again with the draft text."""
MAX_PIECES = 8
"""Maximum tokens of one character; after these it counts as invalid."""
MAX_BOX = 64
"""Last characters of an unfinished tag, in which its bounding box is searched."""
_BOX = re.compile('data-bbox="([^"]*)')
_WORD = re.compile(r"\S+")
_NUMBER = re.compile(r"(?:^|\s)[^\w\s]?\d")
_UNFINISHED = "\ufffd"


class DraftTokenizer(Protocol):
    """Tokenizer that neither adds special tokens nor parses them in a text.

    The text of several tokens is the concatenation of their texts, except for
    characters that are split over several tokens.
    """

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


class Drafter:
    """Drafts the next tokens of one page.

    Drafts come from three sources: the text layer of the PDF, if it has one; n-grams of
    the output; and the markup that usually comes next. `prompt` tells in which format
    the model writes bounding boxes.
    """

    def __init__(
        self, tokenizer: DraftTokenizer, *, text_layer: str = "", prompt: str = ""
    ) -> None:
        self._tokenizer = tokenizer
        self._layer = TextLayer(text_layer)
        self._block_start = _choose_block_start(prompt)
        self._texts: dict[int, str] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the output, because another attempt at the page begins."""
        self._layer.reset()
        self._ngrams = NgramProposer()
        self._state = HTMLState(self._block_start)
        self._recent: list[tuple[int, str]] = []
        self._pieces: list[int] = []
        self._num_aligned = 0
        self._tested_rule: tuple[str, int] | None = None
        # Predicted markup that the model rejected the last time on this page.
        self._rejected_rules: set[str] = set()

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens to the output that the drafts continue."""
        if tokens and self._tested_rule is not None:
            rule, drafted_token = self._tested_rule
            if tokens[0] == drafted_token:
                self._rejected_rules.discard(rule)
            else:
                self._rejected_rules.add(rule)
            self._tested_rule = None
        for token in tokens:
            self._ngrams.append(token)
            text = self._decode_token(token)
            self._recent.append((token, text))
            self._state.feed(text)
        del self._recent[:-MAX_CONTEXT]

    def draft(self, max_tokens: int) -> list[int]:
        """Return up to `max_tokens` draft tokens; an empty list if none are likely."""
        if max_tokens <= 0:
            return []
        draft = self._propose(max_tokens)[:max_tokens]
        if draft and len(draft) < max_tokens:
            draft += self._ngrams.propose(
                max_tokens - len(draft), min_length=MIN_TEXT_NGRAM, draft=draft
            )
        return self._cut_before_box(draft)

    def _propose(self, max_tokens: int) -> list[int]:
        """Choose between a draft from the layer and one from the output.

        Stores the markup that a draft from the layer tests, for `extend`.
        The layer and the usual markup come first. Where the model rejected the usual
        markup the last time, the page's own n-grams come first.
        """
        state = self._state
        if self._pieces or state.is_in_entity:
            return self._draft_from_output(max_tokens)
        from_layer = self._draft_from_layer(max_tokens)
        if state.expects_text or state.is_in_box:
            return from_layer or self._draft_from_output(max_tokens)
        rule = predict_markup(state)
        if from_layer:
            self._tested_rule = (rule, from_layer[0])
        if rule in self._rejected_rules:
            return self._draft_from_output(max_tokens) or from_layer
        return from_layer or self._draft_from_output(max_tokens)

    def _decode_token(self, token: int) -> str:
        """Return the text that a token adds to the output.

        It is empty while a character is unfinished, and comes with its last token.
        """
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

    def _draft_from_output(self, max_tokens: int) -> list[int]:
        """Draft from n-grams of the output."""
        min_length = MIN_TEXT_NGRAM if self._state.expects_text else 2
        return self._ngrams.propose(max_tokens, min_length=min_length)

    def _draft_from_layer(self, max_tokens: int) -> list[int]:
        """Draft from the text layer and the usual markup, alternately."""
        num_characters = CHARACTERS_PER_TOKEN * max_tokens
        state = self._state.copy()
        position = self._align_layer()
        text = ""
        ends_word = True
        while ends_word and len(text) < num_characters:
            more = ""
            if not state.expects_text:
                more = predict_markup(state)
            elif "math" not in state.open:
                if state.begins_text and position is not None:
                    position = self._layer.find_next_block(
                        position, is_item=state.is_item
                    )
                if position is not None:
                    layer_text = self._layer.read_text(
                        position,
                        num_characters - len(text),
                        begins_text=state.begins_text,
                    )
                    more, num_read = _to_html(layer_text, state)
                    position += num_read
                    ends_word = layer_text.ends_word
            if not more:
                break
            state.feed(more)
            text += more
        tokens = self._encode_continuation(text)
        # If the text was cut within a word, its last token may be another one.
        return tokens if ends_word else tokens[:-1]

    def _align_layer(self) -> int | None:
        """Align the text layer with the new output; return the output's position in it.

        Returns None if the output is not found in the layer.
        """
        visible, num_visible = self._state.visible, self._state.num_visible
        self._layer.align(visible, num_visible - self._num_aligned)
        self._num_aligned = num_visible
        if self._state.begins_text:
            self._layer.start_block(is_item=self._state.is_item)
        return self._layer.position if self._layer.is_aligned else None

    def _encode_continuation(self, text: str) -> list[int]:
        """Return the tokens of a text that continues the output.

        It is encoded together with the end of the output, because the first token of
        "ple" differs after "exam".
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

    def _cut_before_box(self, tokens: list[int]) -> list[int]:
        """Cut a draft before the numbers of a box, which cannot be predicted."""
        text = (self._state.tag or "")[-MAX_BOX:]
        for i, token in enumerate(tokens):
            begin = len(text)
            text += self._tokenizer.decode([token])
            for box in _BOX.finditer(text):
                if any(map(str.isdigit, text[max(begin, box.start(1)) : box.end(1)])):
                    return tokens[:i]
        return tokens


def _to_html(layer_text: LayerText, state: HTMLState) -> tuple[str, int]:
    """Convert text of the layer to HTML; return it and how many positions it takes.

    Each character except spaces takes one position of the layer.

    End tags are added if the paragraph or cell probably ends after the text. In a table
    cell, the text is cut where the cell above suggests an end.
    """
    text, is_closed = layer_text.text, layer_text.ends_paragraph
    num_words = state.num_words_left
    number = _NUMBER.search(text) if state.ends_before_number else None
    if number is not None and number.start():
        text, is_closed = text[: number.start()], True
    elif num_words is not None:
        # Text that does not start with a space completes a word of the output.
        continues_word = bool(text) and not (state.follows_space or text[0].isspace())
        end = _find_end_of_words(text, num_words + continues_word)
        is_closed = is_closed or end < len(text)
        text = text[:end]
    num_letters = len(text) - text.count(" ")
    if state.follows_space:
        text = text.lstrip()
    tags = ""
    if is_closed and (text or num_words == 0 or not state.begins_text):
        tags = closing_tags(state)
    return html.escape(text, quote=False) + tags, num_letters


def _find_end_of_words(text: str, num_words: int) -> int:
    """Return the length of the first `num_words` words of a text."""
    end = 0
    for match in itertools.islice(_WORD.finditer(text), num_words):
        end = match.end()
    return end


def _choose_block_start(prompt: str) -> str:
    """Return the start of each block in the format that the prompt asks for."""
    if prompt and "data-bbox" not in prompt:
        return NO_BOXES
    if "x0 y0" in prompt:
        return BOXES_OF_NUMBERS
    return BOXES_IN_BRACKETS
