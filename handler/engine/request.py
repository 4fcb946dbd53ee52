"""Requests to an engine and their outputs. One request is one page to read."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from handler.errors import HandlerError
from handler.schema import Page, PageError

__all__ = [
    "GREEDY",
    "EngineOutput",
    "EngineRequest",
    "FinishReason",
    "Sampling",
    "choose_sampling",
]

TOP_P = 0.95
"""Top-p of chandra-ocr's sampled attempts."""
MIN_TEMPERATURE = 0.01
"""Lower temperatures decode greedily: logits divided by them may overflow, and the most
likely token would nearly always be drawn anyway."""


class FinishReason(enum.StrEnum):
    """Reason why the engine ended a page."""

    STOP = "stop"
    LENGTH = "length"
    REPETITION = "repetition"
    ABORTED = "aborted"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """Request to read one page: its image, the prompt and limits."""

    id: str
    request_id: str
    """Id of the HTTP request that the page belongs to."""
    page: Page = field(repr=False)
    prompt: str = field(repr=False)
    max_output_tokens: int
    temperature: float = 0.0
    """Temperature of the first attempt; 0 means greedy decoding."""
    max_attempts: int | None = None
    """Maximum attempts for a page on which the model repeats itself; None: the engine's
    default."""


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """Result of one engine request: the text of the page, or an error."""

    engine_request_id: str
    finish_reason: FinishReason
    text: str = field(default="", repr=False)
    num_output_tokens: int = 0
    num_forwards: int = 0
    """Forward passes that computed the page's tokens, in all attempts. Pages that run
    together share a pass. Without accepted draft tokens, each token takes one."""
    num_drafted_tokens: int = 0
    """Draft tokens verified in these passes."""
    num_accepted_tokens: int = 0
    """Draft tokens that the model accepted."""
    num_attempts: int = 1
    has_repetition: bool = False
    """True if every attempt ended in a repetition; the text is the best attempt's."""
    error: PageError | None = None
    page_seconds: float = 0.0
    """Time from the start of the page in the engine to its end, in the last run."""
    queue_seconds: float = 0.0
    """Remaining time since the page was submitted, spent waiting."""

    @classmethod
    def from_error(cls, request: EngineRequest, error: HandlerError) -> EngineOutput:
        """Return the output of a request that failed with `error`."""
        page_error = PageError(error.code, error.detail)
        return cls(request.id, FinishReason.ERROR, error=page_error)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters for choosing the next token. Temperature 0 is greedy decoding."""

    temperature: float = 0.0
    top_p: float = 1.0
    """Tokens are drawn from the smallest set whose probabilities add up to this."""


GREEDY = Sampling()


def choose_sampling(temperature: float) -> Sampling:
    """Return the sampling parameters for a temperature set by a request.

    This is greedy decoding below MIN_TEMPERATURE, otherwise sampling with TOP_P.
    """
    if temperature < MIN_TEMPERATURE:
        return GREEDY
    return Sampling(temperature, TOP_P)
