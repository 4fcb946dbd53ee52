"""Tokens a page will probably say next.

A guess costs little and is checked: what the model says does not depend on it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Protocol

from handler.engine import markup
from handler.engine.markup import Markup
from handler.engine.ngrams import Ngrams
from handler.engine.text_layer import TextLayer

__all__ = ["DraftTokenizer", "Drafter"]

CHARACTERS_PER_TOKEN = 8
"""More than a token has on average: enough text for a draft of any length."""
TELLING_NGRAM = 3
"""Tokens alike that count for more than a rule about HTML."""
MAX_CONTEXT = 8
"""Tokens of the output that are tokenised again with what may follow."""
MAX_PIECES = 8
"""Tokens one character may be made of; more are not waited for."""
MAX_BOX = 64
"""Characters of an unfinished tag within which its box would stand."""
_BOX = re.compile('data-bbox="([^"]*)')
_UNFINISHED = "\ufffd"


class DraftTokenizer(Protocol):
    """Text to tokens and back, special tokens neither added nor read into text.

    The text of several tokens is the texts of each, but for characters that are
    spread over some of them.
    """

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


class Drafter:
    """Guesses how one page goes on.

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
        self._ngrams = Ngrams()
        self._markup = Markup(self._block_start)
        self._recent: list[tuple[int, str]] = []
        self._pieces: list[int] = []
        self._num_followed = 0

    def extend(self, tokens: Sequence[int]) -> None:
        """Take note of what the model really said."""
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
        guess = self._guess(max_tokens)[:max_tokens]
        if guess and len(guess) < max_tokens:
            guess += self._ngrams.following(
                max_tokens - len(guess), min_length=TELLING_NGRAM, guessed=guess
            )
        return self._without_boxes(guess)

    def _guess(self, max_tokens: int) -> list[int]:
        if self._pieces or self._markup.is_in_entity:
            return self._from_output(max_tokens)
        if self._markup.is_in_box:
            return self._encoded(self._markup.following())
        return (
            self._from_layer(max_tokens)
            or self._from_output(max_tokens, TELLING_NGRAM)
            or self._from_rules()
            or self._from_output(max_tokens)
        )

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

    def _from_layer(self, max_tokens: int) -> list[int]:
        state, layer = self._markup, self._layer
        if state.tag is not None or not state.expects_text or "math" in state.open:
            return []
        num_new = state.num_visible - self._num_followed
        self._num_followed = state.num_visible
        is_found = layer.follow(state.visible, num_new)
        if state.begins_text:
            layer.begin_block()
        elif not is_found:
            return []
        ahead = layer.ahead(
            CHARACTERS_PER_TOKEN * max_tokens, after_end=state.begins_text
        )
        words = ahead.text.lstrip() if state.follows_space else ahead.text
        text = html.escape(words, quote=False)
        if ahead.ends_paragraph and (words or not state.begins_text):
            text += state.closing()
        tokens = self._encoded(text)
        # The cut may have gone through what would be one token.
        return tokens if ahead.ends_word else tokens[:-1]

    def _from_output(self, max_tokens: int, min_length: int = 2) -> list[int]:
        return self._ngrams.following(max_tokens, min_length=min_length)

    def _from_rules(self) -> list[int]:
        if self._markup.expects_text and self._markup.tag is None:
            return []
        return self._encoded(self._markup.following())

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
        """The draft up to the numbers of a box, which nobody can guess."""
        text = (self._markup.tag or "")[-MAX_BOX:]
        for i, token in enumerate(tokens):
            begin = len(text)
            text += self._tokenizer.decode([token])
            for box in _BOX.finditer(text):
                if any(map(str.isdigit, text[max(begin, box.start(1)) : box.end(1)])):
                    return tokens[:i]
        return tokens


def _block_start(prompt: str) -> str:
    if prompt and "data-bbox" not in prompt:
        return markup.NO_BOXES
    if "x0 y0" in prompt:
        return markup.BOXES_OF_NUMBERS
    return markup.BOXES_IN_BRACKETS
