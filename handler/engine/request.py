"""One page's generation: what is asked for, and what became of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from handler.schema import Page, PageError

__all__ = ["FinishReason", "Generation", "Sequence"]


class FinishReason(enum.StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    REPETITION = "repetition"
    ABORTED = "aborted"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Sequence:
    """A page to be read: its image, the words said to the model, and a limit."""

    id: str
    request_id: str
    page: Page = field(repr=False)
    prompt: str = field(repr=False)
    max_output_tokens: int
    temperature: float = 0.0
    """Temperature of the first attempt; 0 means greedy decoding."""
    max_attempts: int | None = None
    """Times to read a page on which the model repeats itself; None: the engine's."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model said about one page, or why it said nothing."""

    sequence_id: str
    finish_reason: FinishReason
    text: str = field(default="", repr=False)
    num_output_tokens: int = 0
    num_forwards: int = 0
    """Forwards of the model that its tokens took, in every attempt; pages that run
    together share them. Without right guesses one for each token."""
    num_drafted_tokens: int = 0
    """Tokens that were guessed and verified in them."""
    num_accepted_tokens: int = 0
    """Of those, the ones the model said itself."""
    num_attempts: int = 1
    has_repetition: bool = False
    """Whether the text repeats itself as no page does, in every attempt."""
    error: PageError | None = None
    page_seconds: float = 0.0
    """From the engine taking the page up to the end, in the run that counts."""
    queue_seconds: float = 0.0
    """The rest of the time since its submission."""
