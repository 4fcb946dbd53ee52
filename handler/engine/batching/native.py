"""Native engine: continuous batching with chunked prefill and speculative decoding."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from handler.engine.batching.attempts import PageAttempts
from handler.engine.batching.drafting import DraftSource, choose_draft_length
from handler.engine.batching.kv_cache import KVSegmentPool
from handler.engine.batching.memory_plan import EXPECTED_OUTPUT_TOKENS
from handler.engine.batching.model_runner import Chunk, ModelRunner, Prompt, Row
from handler.engine.batching.page_state import PageState
from handler.engine.batching.repetition import ends_in_loop
from handler.engine.batching.scheduler import Scheduler, StepSchedule
from handler.engine.request import (
    EngineOutput,
    EngineRequest,
    FinishReason,
    Sampling,
    choose_sampling,
)
from handler.engine.steps import StepKind, StepTimer
from handler.errors import InvalidOptionError, OutOfMemoryError

__all__ = ["BatchingOptions", "NativeEngine"]

logger = logging.getLogger(__name__)

P = TypeVar("P", bound=Prompt)

_CHECK_EVERY = 64
"""Output tokens of a page between two checks for a repetition."""
_TAIL_TOKENS = 6000
"""Tokens checked for a repetition. Runs of blanks and dots have several characters a
token."""


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """Limits of the native engine. Sizes are tokens."""

    max_running_pages: int = 16
    """Maximum number of pages in the batch."""
    max_prefill_tokens: int = 1024
    """Maximum tokens of a prompt in one step. Decoding pages wait for them."""
    expected_output_tokens: int = EXPECTED_OUTPUT_TOKENS
    """Room for output that the cache must have before a page is admitted."""
    max_draft_tokens: int = 0
    max_verified_tokens: int = 64
    """Maximum tokens of all pages in a decode step, draft tokens included. The more
    pages, the fewer draft tokens each may have."""
    max_attempts: int = 3
    """Maximum attempts for a page on which the model repeats itself, if its request
    does not set a number."""
    retries: tuple[Sampling, ...] = ()
    """Sampling of the attempts after the first; the last entry is used for the rest."""


class NativeEngine(Generic[P]):
    """Engine that schedules pages, and computes them with a ModelRunner.

    Pages join and leave the batch between any two tokens. `create_drafter` returns the
    source of a page's draft tokens, or None for no drafts.
    """

    def __init__(
        self,
        runner: ModelRunner[P],
        options: BatchingOptions,
        *,
        create_drafter: Callable[
            [EngineRequest], DraftSource | None
        ] = lambda request: None,
        clock: Callable[[], float] = time.monotonic,
        steps: StepTimer | None = None,
    ) -> None:
        self.steps = steps or StepTimer(clock)
        self._runner = runner
        self._options = options
        self._create_drafter = create_drafter
        self._clock = clock
        self._scheduler: Scheduler[PageState[P]] = Scheduler(
            KVSegmentPool(runner.num_cache_positions),
            max_running_pages=options.max_running_pages,
            max_prefill_tokens=options.max_prefill_tokens,
            expected_output_tokens=options.expected_output_tokens,
            max_draft_tokens=options.max_draft_tokens,
        )
        self._pages: dict[str, PageState[P]] = {}
        self._outputs: list[EngineOutput] = []
        self._may_shrink = True

    def submit(self, request: EngineRequest) -> None:
        """Tokenise a page and queue it.

        If its prompt is too long or does not fit into memory, the next step returns an
        error for it.
        """
        prompt = self._tokenise(request)
        if prompt is None:
            return
        room = self._max_tokens - prompt.num_tokens
        if room < 1:
            self._outputs.append(self._make_too_long_output(request, prompt))
            return
        page = PageState(
            request,
            prompt,
            limit=max(1, min(request.max_output_tokens, room)),
            drafter=self._create_drafter(request),
            attempts=PageAttempts(
                self._options.retries,
                max_attempts=request.max_attempts or self._options.max_attempts,
                first=choose_sampling(request.temperature),
            ),
        )
        self._pages[request.id] = page
        self._scheduler.add(page)

    def _tokenise(self, request: EngineRequest) -> P | None:
        """Tokenise a page. If there is no memory, shrink the cache and try again.

        If there is still no memory, or if the prompt is too long, adds an output with
        the error and returns None.
        """
        while True:
            try:
                return self._runner.tokenise(request)
            except InvalidOptionError as error:
                self._outputs.append(EngineOutput.from_error(request, error))
                return None
            except OutOfMemoryError as error:
                shortage = error.detail
            if not self._shrink():
                self._outputs.append(
                    EngineOutput.from_error(request, OutOfMemoryError(shortage))
                )
                return None

    @property
    def _max_tokens(self) -> int:
        """Maximum tokens of a page's prompt and output together."""
        return max(0, min(self._runner.max_tokens, self._scheduler.max_tokens))

    def _make_too_long_output(self, request: EngineRequest, prompt: P) -> EngineOutput:
        return EngineOutput.from_error(
            request,
            OutOfMemoryError(
                f"a page of {prompt.num_tokens} tokens does not fit into a cache of "
                f"{self._max_tokens}: lower max_side or raise kv_cache_tokens"
            ),
        )

    def cancel(self, engine_request_id: str) -> None:
        """End a page as ABORTED; ignore unknown ids."""
        page = self._pages.get(engine_request_id)
        if page is not None:
            self._end_page(page, EngineOutput(engine_request_id, FinishReason.ABORTED))

    @property
    def has_work(self) -> bool:
        return bool(self._pages or self._outputs)

    @property
    def num_free_positions(self) -> int:
        """Cache positions that belong to no page."""
        return self._scheduler.num_free_positions

    def count_output_tokens(self) -> dict[str, int]:
        """Return the number of output tokens of each page with a segment, by id."""
        return {
            page.request.id: len(page.output_tokens) for page in self._scheduler.running
        }

    def step(self, poll: Callable[[], None]) -> list[EngineOutput]:
        """Schedule, compute and update: advance each scheduled page.

        The scheduler decides which pages run. Pages whose prompt is computed decode
        together: one forward pass computes the next token of each, and verifies its
        draft tokens. A drafted page advances by its accepted tokens and one more. Then
        one page is prefilled: a slice of its image is encoded, or a chunk of its prompt
        is computed. So a large page delays the others by one slice or chunk a step.

        If a forward pass runs out of memory, the cache is replaced by a smaller one
        once, and all pages are computed again. Later shortages fail one page. Steps are
        short, so `poll` is not called. Raises OutOfMemoryError if segments cannot be
        moved after the cache has shrunk.
        """
        self.steps.start(StepKind.SCHEDULE)
        plan = self._scheduler.schedule()
        self._run_moves(plan)
        now = self._clock()
        for page in plan.admitted:
            page.started_at = page.started_at or now
        for page in plan.preempted:
            self._runner.release_image(page.prompt)
        if plan.decode:
            self._run_decode(plan.decode)
        # The page may have lost its segment in this step, when the cache shrank.
        if plan.prefill is not None and plan.prefill.segment is not None:
            self._run_prefill(plan.prefill, plan)
        outputs, self._outputs = self._outputs, []
        return outputs

    def _run_moves(self, plan: StepSchedule[PageState[P]]) -> None:
        """Make the scheduled moves. If there is no memory, shrink the cache.

        After a shrink no page has a segment, so `plan.decode` is cleared. Raises
        OutOfMemoryError if the cache was shrunk before, because the content of the
        cache is unknown then.
        """
        shortage = None
        try:
            self._runner.move(plan.moves)
        except OutOfMemoryError as error:
            shortage = error.detail
        if shortage is not None:
            if not self._shrink():
                raise OutOfMemoryError(shortage)
            plan.decode.clear()

    def _run_prefill(
        self, page: PageState[P], plan: StepSchedule[PageState[P]]
    ) -> None:
        """Encode a slice of the page's image, or compute a chunk of its tokens.

        The last chunk also gives the next token of the output. If there is no memory,
        shrinks the cache or fails the page.
        """
        assert page.segment is not None
        if page.num_computed < page.num_prompt_tokens and not page.prompt.is_encoded:
            self._run_encoder(page)
            return
        count = plan.num_prefill_tokens
        chunk = Chunk(
            page.prompt,
            page.output_tokens,
            page.num_computed,
            count,
            page.segment.start,
            page.attempts.sampling,
        )
        self.steps.start(StepKind.PREFILL, count)
        shortage = None
        try:
            token = self._runner.prefill(chunk)
        except OutOfMemoryError as error:
            shortage = error.detail
        if shortage is not None:
            self._handle_shortage(page, shortage)
            return
        page.num_computed += count
        if token is not None:
            page.num_forwards += 1
            self._append_output(page, [token])

    def _run_encoder(self, page: PageState[P]) -> None:
        """Encode one slice of the page's image.

        If there is no memory, shrinks the cache or fails the page.
        """
        self.steps.start(StepKind.ENCODE, page.prompt.num_tokens)
        shortage = None
        try:
            self._runner.encode(page.prompt)
        except OutOfMemoryError as error:
            shortage = error.detail
        if shortage is not None:
            self._handle_shortage(page, shortage)

    def _handle_shortage(self, page: PageState[P], detail: str) -> None:
        """Shrink the cache after a step ran out of memory, or else fail `page`."""
        if not self._shrink():
            self._end_page(
                page, EngineOutput.from_error(page.request, OutOfMemoryError(detail))
            )

    def _shrink(self) -> bool:
        """Replace the cache by a smaller one; return whether this was possible.

        This is tried at most once. All pages lose their images and segments, and are
        computed again; their outputs do not change. Pages that are too long for the new
        cache end.
        """
        if not self._may_shrink:
            return False
        self._may_shrink = False
        self.steps.start(StepKind.SHRINK)
        for page in self._scheduler.running:
            # The new cache needs the memory of the encoded images.
            self._runner.release_image(page.prompt)
        before = self._runner.num_cache_positions
        num_cache_positions = self._runner.shrink_cache()
        if num_cache_positions is None:
            return False
        preempted = self._scheduler.reset(num_cache_positions)
        logger.warning(
            "cache shrunk after a step ran out of memory",
            extra={
                "tokens_before": before,
                "tokens_after": num_cache_positions,
                "preempted_pages": len(preempted),
            },
        )
        for page in list(self._pages.values()):
            self._apply_cache_limit(page)
        return True

    def _apply_cache_limit(self, page: PageState[P]) -> None:
        """Lower a page's limit to the smaller cache, and end the page if it is longer.

        The output is cut off where that of a page submitted now would be.
        """
        room = self._max_tokens - page.prompt.num_tokens
        if room < 1:
            self._end_page(page, self._make_too_long_output(page.request, page.prompt))
            return
        page.limit = min(page.limit, room)
        if len(page.output_tokens) >= page.limit:
            del page.output_tokens[page.limit :]
            self._end_attempt(page, FinishReason.LENGTH)
            page.num_computed = 0  # A new attempt begins with an empty cache.

    def _run_decode(self, pages: list[PageState[P]]) -> None:
        """Compute the next token of all pages, and verify their draft tokens.

        Appends the accepted draft tokens and the next token to each output. If there is
        no memory, shrinks the cache or fails the youngest page.
        """
        options = self._options
        drafts = [
            page.draft_tokens(
                max_tokens=min(
                    options.max_draft_tokens,
                    options.max_verified_tokens // len(pages) - 1,
                ),
                num_worthwhile=choose_draft_length(
                    page.acceptance_rate.value, len(pages), options.max_verified_tokens
                ),
            )
            for page in pages
        ]
        rows = []
        for page, draft in zip(pages, drafts, strict=True):
            assert page.segment is not None
            tokens = [page.last_token, *draft]
            rows.append(
                Row(
                    page.prompt,
                    tokens,
                    page.num_computed,
                    page.segment.start,
                    page.attempts.sampling,
                )
            )
        self.steps.start(StepKind.DECODE, sum(len(row.tokens) for row in rows))
        shortage = None
        try:
            chosen = self._runner.decode(rows)
        except OutOfMemoryError as error:
            shortage = error.detail
        if shortage is not None:
            # The youngest page fails, so that the others can continue.
            self._handle_shortage(pages[-1], shortage)
            return
        for page, draft, tokens in zip(pages, drafts, chosen, strict=True):
            # Keys and values of rejected drafts are overwritten later.
            self._append_output(page, page.accept_drafts(draft, tokens))

    def _append_output(self, page: PageState[P], tokens: list[int]) -> None:
        """Append tokens to a page's output, and end its attempt if it is complete.

        The attempt ends at a stop token, at the page's limit, or if the output has
        fallen into a loop, which is checked every `_CHECK_EVERY` tokens.
        """
        num_before = len(page.output_tokens)
        reason = page.append_tokens(tokens, self._runner.stop_token_ids)
        is_due = num_before // _CHECK_EVERY != len(page.output_tokens) // _CHECK_EVERY
        if reason is None and is_due:
            tail = self._runner.detokenise(page.output_tokens[-_TAIL_TOKENS:])
            if ends_in_loop(tail):
                reason = FinishReason.REPETITION
        if reason is not None:
            self._end_attempt(page, reason)

    def _end_attempt(self, page: PageState[P], reason: FinishReason) -> None:
        """End the attempt: retry the page if it repeats itself, otherwise end it."""
        output = page.end_attempt(self._runner.detokenise(page.output_tokens), reason)
        if output is not None:
            self._end_page(page, output)

    def _end_page(self, page: PageState[P], output: EngineOutput) -> None:
        """Remove a page from the engine, release its image and add its output.

        The counts and the time of the page are added to `output`.
        """
        del self._pages[page.request.id]
        self._scheduler.remove(page)
        self._runner.release_image(page.prompt)
        self._outputs.append(page.add_counts(output, self._clock()))
