"""Tokenizers for tests of drafts, and a model with a known output."""

from __future__ import annotations

import re

from handler.engine.drafts.drafter import Drafter, DraftTokenizer


class LetterTokenizer:
    """Tokenizer with a token for each letter and for each tag without attributes."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._ids: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        pieces = re.findall(r"</?[a-z0-9]+>|[^<]|<", text)
        return [self._assign_id(piece) for piece in pieces]

    def decode(self, ids: list[int]) -> str:
        return "".join(self._pieces[i] for i in ids)

    def _assign_id(self, piece: str) -> int:
        if piece not in self._ids:
            self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)
        return self._ids[piece]


class ByteTokenizer:
    """Tokenizer with a token for each byte: letters beyond ASCII have several."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")


def draft_after(
    tokenizer: DraftTokenizer,
    output: str,
    *,
    layer: str = "",
    prompt: str = "",
    max_tokens: int = 40,
) -> str:
    """Return the text of the draft that a new drafter makes after `output`."""
    drafter = Drafter(tokenizer, text_layer=layer, prompt=prompt)
    drafter.extend(tokenizer.encode(output))
    return tokenizer.decode(drafter.draft(max_tokens))


def count_forwards(drafter: Drafter, tokens: list[int], max_tokens: int) -> int:
    """Return the number of forward passes that an output of `tokens` takes.

    Each pass gives one token and the accepted draft tokens before it. Extends the
    drafter with all tokens.
    """
    position = count = 0
    while position < len(tokens):
        draft = drafter.draft(max_tokens)
        num_accepted = 0
        for draft_token, token in zip(draft, tokens[position:], strict=False):
            if draft_token != token:
                break
            num_accepted += 1
        appended = tokens[position : position + num_accepted + 1]
        drafter.extend(appended)
        position += len(appended)
        count += 1
    return count
