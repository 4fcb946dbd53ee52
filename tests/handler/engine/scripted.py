"""Scripted model, whose output is wrong if its KV cache has other content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from handler.engine.batching.kv_cache import Move
from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.request import EngineRequest
from handler.errors import InvalidOptionError, OutOfMemoryError
from handler.schema import Page

STOP = 0
WRONG = ord("?")


@dataclass(eq=False)
class ScriptedPrompt:
    """Prompt of `length` tokens, with the scripts of greedy and of sampled output."""

    name: str
    length: int
    scripts: list[list[int]]
    num_slices: int = 0
    """Slices of the image that are encoded."""
    is_encoded: bool = False

    @property
    def num_tokens(self) -> int:
        return self.length

    @property
    def last_token(self) -> int:
        return -self.length

    def token(self, index: int, output: Sequence[int]) -> int:
        """Return the token at an index; tokens of the prompt are negative."""
        return -1 - index if index < self.length else output[index - self.length]


class ScriptedRunner:
    """ModelRunner whose output is a script, and which checks the cache like attention.

    A page's script is the bytes of its prompt. After a "|" follows the script for
    sampled tokens. All tokens before the current one must be at their positions of the
    page's segment; otherwise the output is wrong.
    """

    def __init__(
        self,
        num_cache_positions: int = 1000,
        max_tokens: int = 10_000,
        num_slices: int = 1,
    ) -> None:
        self.num_cache_positions = num_cache_positions
        self.max_tokens = max_tokens
        self.stop_token_ids = (STOP,)
        self.positions: list[object] = [None] * num_cache_positions
        self.forwards: list[list[int]] = []
        """Tokens computed for each page of each forward."""
        self.out_of_memory: set[str] = set()
        self.num_slices = num_slices
        """Slices in which an image is encoded."""
        self.sliced: list[str] = []
        """Page of each encoded slice."""
        self.smaller_caches: list[int | None] = []
        """Sizes that `shrink_cache` returns, one after the other."""
        self.failing: set[tuple[str, int]] = set()
        """Calls that run out of memory, by name and index, such as ("decode", 0)."""
        self.too_long: set[str] = set()
        """Pages whose prompt has too many tokens."""
        self.calls: Counter[str] = Counter()
        self.encoded: list[str] = []
        """Pages whose image is completely encoded."""
        self.held: set[str] = set()
        """Pages whose image is on the device, complete or not."""

    def tokenise(self, request: EngineRequest) -> ScriptedPrompt:
        if request.id in self.too_long:
            raise InvalidOptionError("prompt has too many tokens")
        self._allocate("tokenise")
        length = request.page.pixel_width
        greedy, _, drawn = request.prompt.partition("|")
        scripts = [[*greedy.encode()], [*(drawn or greedy).encode()]]
        return ScriptedPrompt(request.id, length, scripts)

    def encode(self, prompt: ScriptedPrompt) -> bool:
        if prompt.name in self.out_of_memory:
            raise OutOfMemoryError("no memory is left")
        self._allocate("encode")
        self.sliced.append(prompt.name)
        self.held.add(prompt.name)
        prompt.num_slices += 1
        if prompt.num_slices == self.num_slices:
            prompt.is_encoded = True
            self.encoded.append(prompt.name)
        return prompt.is_encoded

    def release_image(self, prompt: ScriptedPrompt) -> None:
        prompt.is_encoded = False
        prompt.num_slices = 0
        self.held.discard(prompt.name)

    def shrink_cache(self) -> int | None:
        num_cache_positions = (
            self.smaller_caches.pop(0) if self.smaller_caches else None
        )
        if num_cache_positions is not None:
            self.num_cache_positions = num_cache_positions
            self.positions = [None] * num_cache_positions
        return num_cache_positions

    def _allocate(self, call: str) -> None:
        number = self.calls[call]
        self.calls[call] += 1
        if (call, number) in self.failing:
            raise OutOfMemoryError("no memory is left")

    def move(self, moves: Sequence[Move]) -> None:
        if moves:
            self._allocate("move")
        for move in moves:
            held = self.positions[move.source : move.source + move.length]
            self.positions[move.target : move.target + move.length] = held

    def detokenise(self, token_ids: Sequence[int]) -> str:
        return bytes(token_ids).decode()

    def prefill(self, chunk: Chunk[ScriptedPrompt]) -> int | None:
        prompt = chunk.prompt
        if prompt.name in self.out_of_memory:
            raise OutOfMemoryError("no memory is left")
        while not prompt.is_encoded and chunk.start < prompt.length:
            self.encode(prompt)
        self._allocate("prefill")
        tokens = [
            prompt.token(chunk.start + i, chunk.output_tokens)
            for i in range(chunk.count)
        ]
        self.forwards.append([chunk.count])
        script = prompt.scripts[chunk.sampling.temperature > 0]
        begin = chunk.segment_start
        outputs = self._compute(prompt, script, tokens, chunk.start, begin)
        return outputs[-1] if chunk.is_last else None

    def decode(self, rows: Sequence[Row[ScriptedPrompt]]) -> list[list[int]]:
        if any(row.prompt.name in self.out_of_memory for row in rows):
            raise OutOfMemoryError("no memory is left")
        self._allocate("decode")
        self.forwards.append([len(row.tokens) for row in rows])
        return [
            self._compute(
                row.prompt,
                row.prompt.scripts[row.sampling.temperature > 0],
                row.tokens,
                row.start,
                row.segment_start,
            )
            for row in rows
        ]

    def _compute(
        self,
        prompt: ScriptedPrompt,
        script: list[int],
        tokens: Sequence[int],
        start: int,
        begin: int,
    ) -> list[int]:
        outputs = []
        for number, token in enumerate(tokens, start):
            self.positions[begin + number] = (prompt.name, number, token)
            seen = self.positions[begin : begin + number + 1]
            outputs.append(_next(prompt, script, seen))
        return outputs


def _next(prompt: ScriptedPrompt, script: list[int], seen: list[object]) -> int:
    num_output_tokens = len(seen) - prompt.length
    if not 0 <= num_output_tokens <= len(script):
        return WRONG
    expected = [(prompt.name, i, prompt.token(i, script)) for i in range(len(seen))]
    return [*script, STOP][num_output_tokens] if seen == expected else WRONG


def engine_request(
    name: str, script: str, *, prompt: int = 10, max_output_tokens: int = 1000
) -> EngineRequest:
    """Return a page whose prompt has `prompt` tokens and whose answer is the script."""
    page = Page(1, 1, 1, prompt, 1, b"")
    return EngineRequest(name, name, page, script, max_output_tokens)
