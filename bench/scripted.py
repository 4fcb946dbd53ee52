"""A model that says what it is told to, however it is asked: teacher forcing.

It computes nothing and takes no time. What it counts is how often it was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence as Seq
from dataclasses import dataclass

from handler.engine.batching.kv_cache import Move
from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.request import Sequence

__all__ = ["Script", "ScriptedRunner"]

_STOP = -1
_NUM_PLACES = 1_000_000


@dataclass(frozen=True, slots=True)
class Script:
    """A page's prompt, by length alone, and all it is going to say."""

    num_tokens: int
    tokens: Seq[int]
    is_encoded = True

    @property
    def last_token(self) -> int:
        return 0

    def after(self, position: int) -> int:
        """What is said after the token at a position of prompt and answer."""
        number = position + 1 - self.num_tokens
        return self.tokens[number] if 0 <= number < len(self.tokens) else _STOP


class ScriptedRunner:
    """A ModelRunner. `answers` are the tokens of each sequence, by its id.

    The next token is the answer's whatever was guessed before it: what is behind a
    wrong guess does not count, as with any model.
    """

    num_places = _NUM_PLACES
    max_tokens = _NUM_PLACES
    stop_token_ids = (_STOP,)

    def __init__(
        self,
        answers: Mapping[str, Seq[int]],
        decode: Callable[[list[int]], str],
        *,
        num_prompt_tokens: int = 16,
    ) -> None:
        self._answers = answers
        self._decode = decode
        self._num_prompt_tokens = num_prompt_tokens
        self.num_forwards = 0
        """In which a token was said, the one that ends a prompt included."""
        self.num_guessed = 0
        self.num_accepted = 0
        """Guesses that were what is said, and all before them too."""

    def prompt_from(self, sequence: Sequence) -> Script:
        return Script(self._num_prompt_tokens, self._answers[sequence.id])

    def encode(self, prompt: Script) -> bool:
        return True

    def prefill(self, chunk: Chunk[Script]) -> int | None:
        if not chunk.is_last:
            return None
        self.num_forwards += 1
        return chunk.prompt.after(chunk.end - 1)

    def decode(self, rows: Seq[Row[Script]]) -> list[list[int]]:
        self.num_forwards += 1
        return [self._said(row) for row in rows]

    def _said(self, row: Row[Script]) -> list[int]:
        said = [row.prompt.after(row.start + i) for i in range(len(row.tokens))]
        guesses = row.tokens[1:]
        self.num_guessed += len(guesses)
        for guess, token in zip(guesses, said, strict=False):
            if guess != token:
                break
            self.num_accepted += 1
        return said

    def move(self, moves: Seq[Move]) -> None: ...

    def forget(self, prompt: Script) -> None: ...

    def shrink_cache(self) -> int | None:
        return None

    def text_from(self, token_ids: Seq[int]) -> str:
        return self._decode(list(token_ids))
