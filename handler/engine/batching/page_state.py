"""State of a page in the native engine: its output, its drafts and its cache."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from handler.engine.batching.attempts import PageAttempt, PageAttempts
from handler.engine.batching.drafting import (
    AcceptanceRate,
    DraftSource,
    count_accepted,
)
from handler.engine.batching.kv_cache import KVSegment
from handler.engine.batching.model_runner import Prompt
from handler.engine.batching.repetition import find_repetition
from handler.engine.request import EngineOutput, EngineRequest, FinishReason

__all__ = ["PageState"]

P = TypeVar("P", bound=Prompt)

_RETRY_DRAFTS_EVERY = 16
"""Forwards after which a page whose drafts are rarely accepted tries one again."""


@dataclass(eq=False)
class PageState(Generic[P]):
    """State of a page from its submission to its end, over all its attempts.

    It is a `Schedulable`: the scheduler reads and changes only `num_computed` and
    `segment`, and reads the numbers of tokens.
    """

    request: EngineRequest
    prompt: P
    limit: int
    """Maximum output tokens."""
    drafter: DraftSource | None
    attempts: PageAttempts
    output_tokens: list[int] = field(default_factory=list)
    """Output of the current attempt."""
    num_computed: int = 0
    segment: KVSegment | None = None
    started_at: float | None = None
    """Clock time of the first admission; None before it."""
    num_forwards: int = 0
    num_drafted_tokens: int = 0
    num_accepted: int = 0
    acceptance_rate: AcceptanceRate = field(default_factory=AcceptanceRate)

    @property
    def num_prompt_tokens(self) -> int:
        return self.prompt.num_tokens

    @property
    def num_tokens(self) -> int:
        return self.prompt.num_tokens + len(self.output_tokens)

    @property
    def last_token(self) -> int:
        """Last token of the output, or of the prompt while there is no output."""
        return self.output_tokens[-1] if self.output_tokens else self.prompt.last_token

    def draft_tokens(self, *, max_tokens: int, num_worthwhile: int) -> list[int]:
        """Return up to `num_worthwhile` draft tokens of the page, at most `max_tokens`.

        Returns an empty list if the page has no drafter, or is sampled: draft tokens
        are verified against the most likely token. If `num_worthwhile` is 0, the page
        drafts one token every `_RETRY_DRAFTS_EVERY` forwards, to detect that its drafts
        are accepted again.
        """
        if self.drafter is None or self.attempts.sampling.temperature > 0:
            return []
        if num_worthwhile == 0 and self.num_forwards % _RETRY_DRAFTS_EVERY == 0:
            num_worthwhile = 1
        room = self.limit - len(self.output_tokens) - 1
        length = min(num_worthwhile, max_tokens, room)
        return self.drafter.draft(length)[:length] if length > 0 else []

    def accept_drafts(self, draft: list[int], tokens: list[int]) -> list[int]:
        """Return what a decode step adds to the output: accepted drafts and one token.

        `tokens` are the model's, one after the last token of the output and one after
        each token of `draft`. Counts the forward pass, and the keys and values that are
        now in the cache.
        """
        num_accepted = count_accepted(draft, tokens)
        self.num_forwards += 1
        self.num_drafted_tokens += len(draft)
        self.num_accepted += num_accepted
        self.acceptance_rate.update(
            num_accepted, has_rejection=num_accepted < len(draft)
        )
        self.num_computed += num_accepted + 1
        return tokens[: num_accepted + 1]

    def append_tokens(
        self, tokens: list[int], stop_token_ids: Collection[int]
    ) -> FinishReason | None:
        """Append tokens to the output, and pass them to the drafter.

        Stops before a stop token, and at the page's limit. Returns STOP or LENGTH then,
        and None if the output may continue.
        """
        new: list[int] = []
        reason = None
        for token in tokens:
            if token in stop_token_ids:
                reason = FinishReason.STOP
                break
            new.append(token)
            if len(self.output_tokens) + len(new) == self.limit:
                reason = FinishReason.LENGTH
                break
        self.output_tokens += new
        if self.drafter is not None:
            self.drafter.extend(new)
        return reason

    def end_attempt(self, text: str, reason: FinishReason) -> EngineOutput | None:
        """End the attempt whose output has this text; return the output of the page.

        Returns None if another attempt is due. The output is discarded then, and the
        prompt stays in the cache. Its last token is computed again to get the first
        token of the output.
        """
        num_tokens = len(self.output_tokens)
        self.attempts.add(PageAttempt(text, reason, num_tokens, find_repetition(text)))
        if self.attempts.is_over:
            return self.attempts.build_output(self.request.id)
        self.output_tokens.clear()
        self.num_computed = self.num_prompt_tokens - 1
        if self.drafter is not None:
            self.drafter.reset()
        return None

    def add_counts(self, output: EngineOutput, now: float) -> EngineOutput:
        """Return a copy of `output` with the counts of the page and its time so far.

        `now` is the clock's time in seconds.
        """
        return replace(
            output,
            num_forwards=self.num_forwards,
            num_drafted_tokens=self.num_drafted_tokens,
            num_accepted_tokens=self.num_accepted,
            page_seconds=now - self.started_at if self.started_at else 0.0,
        )
