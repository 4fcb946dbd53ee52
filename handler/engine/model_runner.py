"""What the native engine asks of a model, whatever computes it."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from handler.engine.kv_cache import Move
from handler.engine.sampling import GREEDY, Sampling
from handler.engine.sequence import Sequence

__all__ = ["Chunk", "ModelRunner", "Prompt", "Row"]


class Prompt(Protocol):
    """A page and its prompt, tokenised; how it looks is the runner's business."""

    @property
    def num_tokens(self) -> int:
        """Image tokens included."""

    @property
    def last_token(self) -> int:
        """The token after which the answer begins."""

    @property
    def is_encoded(self) -> bool:
        """Whether the whole image is encoded, so that its tokens can be computed."""


P = TypeVar("P", bound=Prompt)


@dataclass(frozen=True, slots=True)
class Row(Generic[P]):
    """One page's share of a forward: tokens that follow what is in its cache."""

    prompt: P
    tokens: Seq[int]
    """The last token said, then those that are guessed to follow it."""
    start: int
    """How many tokens of the page are in the cache."""
    segment_start: int
    sampling: Sampling = GREEDY


@dataclass(frozen=True, slots=True)
class Chunk(Generic[P]):
    """A stretch of a page to be computed: its prompt, and behind that its answer."""

    prompt: P
    output: Seq[int]
    start: int
    """How many tokens of the page are in the cache."""
    count: int
    segment_start: int
    sampling: Sampling = GREEDY

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def is_last(self) -> bool:
        """Whether nothing of the page is left to be computed."""
        return self.end == self.prompt.num_tokens + len(self.output)


class ModelRunner(Protocol[P]):
    """Computes tokens. Used by one thread; knows nothing of pages coming and going.

    `prefill`, `decode` and `move` raise OutOfMemoryError where the device has no memory
    left; the runner can be used afterwards. The caller says where a page's keys and
    values lie; places beyond `start` may hold anything and are written over.
    """

    @property
    def num_places(self) -> int:
        """How many tokens the cache holds, those of all pages together."""

    @property
    def max_tokens(self) -> int:
        """The longest page the model knows positions for."""

    @property
    def stop_token_ids(self) -> tuple[int, ...]: ...

    def prompt_from(self, sequence: Sequence) -> P:
        """Tokenise. Cheap: the image is encoded by `encode`."""

    def encode(self, prompt: P) -> bool:
        """Compute the next slice of the page's image; return whether it is complete.

        A slice takes about as long as the largest chunk of a prompt. A slice that
        raises OutOfMemoryError leaves nothing of the image on the device.
        """

    def prefill(self, chunk: Chunk[P]) -> int | None:
        """Compute the chunk's tokens; the token said after the page's last one.

        None where the chunk ends before it. What is missing of the image is encoded.
        """

    def decode(self, rows: Seq[Row[P]]) -> list[list[int]]:
        """Compute every row's tokens together; what is said after each of them."""

    def move(self, moves: Seq[Move]) -> None:
        """Copy what lies in the cache from place to place, in this order."""

    def forget(self, prompt: P) -> None:
        """Drop what is encoded of a page, all of its image or a part."""

    def shrink_cache(self) -> int | None:
        """Replace the cache by a smaller, empty one; return its `num_places`.

        Everything in the cache is lost. None, with nothing changed, where it would no
        longer hold the largest page.
        """

    def text_from(self, token_ids: Seq[int]) -> str:
        """Detokenise, leaving special tokens out."""
