"""A model that says what it is told to, however it is asked: teacher forcing.

It computes nothing and takes no time. What it counts is how often it was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from handler.engine.batching.kv_cache import Move
from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.request import EngineRequest

__all__ = ["Script", "ScriptedRunner"]

_STOP = -1
_NUM_POSITIONS = 1_000_000


@dataclass(frozen=True, slots=True)
class Script:
    """A page's prompt, by length alone, and all it is going to say."""

    num_tokens: int
    tokens: Sequence[int]
    is_encoded = True

    @property
    def last_token(self) -> int:
        return 0

    def after(self, position: int) -> int:
        """What is said after the token at a position of prompt and answer."""
        number = position + 1 - self.num_tokens
        return self.tokens[number] if 0 <= number < len(self.tokens) else _STOP


class ScriptedRunner:
    """A ModelRunner. `answers` has the tokens of each engine request, by its id.

    The next token is the answer's, whichever draft tokens come before it: tokens after
    a rejected draft token do not count, as with any model.
    """

    num_cache_positions = _NUM_POSITIONS
    max_tokens = _NUM_POSITIONS
    stop_token_ids = (_STOP,)

    def __init__(
        self,
        answers: Mapping[str, Sequence[int]],
        decode: Callable[[list[int]], str],
        *,
        num_prompt_tokens: int = 16,
    ) -> None:
        self._answers = answers
        self._decode = decode
        self._num_prompt_tokens = num_prompt_tokens
        self.num_forwards = 0
        """In which a token was said, the one that ends a prompt included."""
        self.num_drafted = 0
        self.num_accepted = 0
        """Draft tokens that equal the answer, as do all before them."""

    def tokenise(self, request: EngineRequest) -> Script:
        return Script(self._num_prompt_tokens, self._answers[request.id])

    def encode(self, prompt: Script) -> bool:
        return True

    def prefill(self, chunk: Chunk[Script]) -> int | None:
        if not chunk.is_last:
            return None
        self.num_forwards += 1
        return chunk.prompt.after(chunk.end - 1)

    def decode(self, rows: Sequence[Row[Script]]) -> list[list[int]]:
        self.num_forwards += 1
        return [self._said(row) for row in rows]

    def _said(self, row: Row[Script]) -> list[int]:
        said = [row.prompt.after(row.start + i) for i in range(len(row.tokens))]
        draft = row.tokens[1:]
        self.num_drafted += len(draft)
        for draft_token, token in zip(draft, said, strict=False):
            if draft_token != token:
                break
            self.num_accepted += 1
        return said

    def move(self, moves: Sequence[Move]) -> None: ...

    def release_image(self, prompt: Script) -> None: ...

    def shrink_cache(self) -> int | None:
        return None

    def detokenise(self, token_ids: Sequence[int]) -> str:
        return self._decode(list(token_ids))
