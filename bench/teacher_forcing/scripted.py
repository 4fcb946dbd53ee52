"""Model with predetermined answers (teacher forcing).

It computes nothing and takes no time, but counts the forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from handler.engine.batching.kv_cache import Move
from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.request import EngineRequest

__all__ = ["AnswerPrompt", "AnswerRunner"]

_STOP = -1
_NUM_POSITIONS = 1_000_000


@dataclass(frozen=True, slots=True)
class AnswerPrompt:
    """Length of a page's prompt, and its answer."""

    num_tokens: int
    tokens: Sequence[int]
    is_encoded = True

    @property
    def last_token(self) -> int:
        return 0

    def token_after(self, position: int) -> int:
        """Return the answer's token after a position of prompt and answer.

        Return the stop token inside the prompt and after the answer.
        """
        number = position + 1 - self.num_tokens
        return self.tokens[number] if 0 <= number < len(self.tokens) else _STOP


class AnswerRunner:
    """ModelRunner with predetermined tokens: `answers` has them by request id.

    A token after a wrong draft is that of the answer too, but the engine discards it.
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
        """Forward passes with an output token, including the last chunk of a prompt."""
        self.num_drafted = 0
        self.num_accepted = 0
        """Number of accepted draft tokens."""

    def tokenise(self, request: EngineRequest) -> AnswerPrompt:
        return AnswerPrompt(self._num_prompt_tokens, self._answers[request.id])

    def encode(self, prompt: AnswerPrompt) -> bool:
        return True

    def prefill(self, chunk: Chunk[AnswerPrompt]) -> int | None:
        if not chunk.is_last:
            return None
        self.num_forwards += 1
        return chunk.prompt.token_after(chunk.end - 1)

    def decode(self, rows: Sequence[Row[AnswerPrompt]]) -> list[list[int]]:
        self.num_forwards += 1
        return [self._next_tokens(row) for row in rows]

    def _next_tokens(self, row: Row[AnswerPrompt]) -> list[int]:
        """Return the answer's token after each token of a row, and count its drafts."""
        tokens = [row.prompt.token_after(row.start + i) for i in range(len(row.tokens))]
        draft = row.tokens[1:]
        self.num_drafted += len(draft)
        for draft_token, token in zip(draft, tokens, strict=False):
            if draft_token != token:
                break
            self.num_accepted += 1
        return tokens

    def move(self, moves: Sequence[Move]) -> None: ...

    def release_image(self, prompt: AnswerPrompt) -> None: ...

    def shrink_cache(self) -> int | None:
        return None

    def detokenise(self, token_ids: Sequence[int]) -> str:
        return self._decode(list(token_ids))
