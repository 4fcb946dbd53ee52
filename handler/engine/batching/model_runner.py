"""Interface between the native engine and the code that computes the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from handler.engine.batching.kv_cache import Move
from handler.engine.request import GREEDY, EngineRequest, Sampling

__all__ = ["Chunk", "ModelRunner", "Prompt", "Row"]


class Prompt(Protocol):
    """Tokenised prompt of a page. Its other content belongs to the runner."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt, including those of the image."""

    @property
    def last_token(self) -> int:
        """Last token of the prompt, after which the output begins."""

    @property
    def is_encoded(self) -> bool:
        """True if the whole image is encoded, so that prefill can use it."""


P = TypeVar("P", bound=Prompt)


@dataclass(frozen=True, slots=True)
class Row(Generic[P]):
    """Row of a decode step: tokens of one page that follow those in its KV segment."""

    prompt: P
    tokens: Sequence[int]
    """The last token of the output, then its draft tokens."""
    start: int
    """Number of the page's tokens in the cache."""
    segment_start: int
    """First cache position of the page's KV segment."""
    sampling: Sampling = GREEDY


@dataclass(frozen=True, slots=True)
class Chunk(Generic[P]):
    """Consecutive tokens of a page to compute: of its prompt, then of its output."""

    prompt: P
    output_tokens: Sequence[int]
    start: int
    """Number of the page's tokens in the cache."""
    count: int
    """Number of tokens to compute."""
    segment_start: int
    """First cache position of the page's KV segment."""
    sampling: Sampling = GREEDY

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def is_last(self) -> bool:
        """True if the chunk ends with the page's last token."""
        return self.end == self.prompt.num_tokens + len(self.output_tokens)


class ModelRunner(Protocol[P]):
    """Computes tokens. It does not keep track of pages, and belongs to one thread.

    `tokenise`, `encode`, `prefill`, `decode` and `move` raise OutOfMemoryError if
    the device has no memory left; the runner stays usable. The caller chooses the KV
    segment of a page. Its positions from `start` on may hold anything, and are
    overwritten.
    """

    @property
    def num_cache_positions(self) -> int:
        """Size of the KV cache, for the tokens of all pages together."""

    @property
    def max_tokens(self) -> int:
        """Maximum tokens of a page, prompt and output together."""

    @property
    def stop_token_ids(self) -> tuple[int, ...]: ...

    def tokenise(self, request: EngineRequest) -> P:
        """Tokenise the prompt of a page. This is cheap: `encode` encodes the image.

        Raises InvalidOptionError if the prompt is too long.
        """

    def encode(self, prompt: P) -> bool:
        """Compute the next slice of the page's image; return whether it is complete.

        A slice takes about as long as the largest prefill chunk. After
        OutOfMemoryError nothing of the image is on the device.
        """

    def prefill(self, chunk: Chunk[P]) -> int | None:
        """Compute the chunk's tokens; return the next token if the chunk is the last.

        Otherwise return None. Slices of the image that are missing are encoded first.
        """

    def decode(self, rows: Sequence[Row[P]]) -> list[list[int]]:
        """Compute all rows together; return the next token after each of their tokens.

        A row with a temperature has no draft tokens, and gets one token.
        """

    def move(self, moves: Sequence[Move]) -> None:
        """Copy keys and values within the cache, in the order of the moves."""

    def release_image(self, prompt: P) -> None:
        """Release the encoded image of a page, complete or not."""

    def shrink_cache(self) -> int | None:
        """Replace the cache by a smaller, empty one; return its `num_cache_positions`.

        The content of the cache is lost. Returns None without a change if a smaller
        cache would not hold the largest page.
        """

    def detokenise(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens, without special tokens."""
