"""Engine that reads pages with transformers' `generate`, one or a few at a time.

It is the baseline of all benchmarks, and the fallback for models that the native engine
does not support.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from handler.engine.batching.attempts import PageAttempt, PageAttempts
from handler.engine.batching.repetition import find_repetition
from handler.engine.device.model import Inputs, Model
from handler.engine.out_of_memory import is_out_of_memory
from handler.engine.request import (
    EngineOutput,
    EngineRequest,
    FinishReason,
    Sampling,
    choose_sampling,
)
from handler.engine.steps import StepKind, StepTimer
from handler.errors import InvalidOptionError, OutOfMemoryError

__all__ = ["GenerateEngine"]


@dataclass(eq=False)
class _GeneratePage:
    """State of a page in the engine, kept over all its attempts."""

    request: EngineRequest
    attempts: PageAttempts
    num_forwards: int = 0
    seconds: float = 0.0


class GenerateEngine:
    """Engine whose step is one call of `generate` with up to `max_running_pages` pages.

    All pages of a step have the same temperature, and the step ends with its longest
    page. Shorter prompts are padded. A cancelled page ends at the next token. A page is
    read once, unless its request has `max_attempts`; `retries` is the sampling after
    the first attempt.
    """

    def __init__(
        self,
        model: Model,
        max_running_pages: int = 1,
        clock: Callable[[], float] = time.monotonic,
        steps: StepTimer | None = None,
        retries: tuple[Sampling, ...] = (),
    ) -> None:
        self.steps = steps or StepTimer(clock)
        self._model = model
        self._clock = clock
        self._max_running_pages = max_running_pages
        self._retries = retries
        self._waiting: deque[_GeneratePage] = deque()
        self._cancelled: set[str] = set()
        self._progress: dict[str, int] = {}
        self._ended: list[EngineOutput] = []

    def submit(self, request: EngineRequest) -> None:
        """Queue a page; if its prompt is too long, the next step returns an error."""
        try:
            self._model.tokenise(request.page, request.prompt)
        except InvalidOptionError as error:
            self._ended.append(EngineOutput.from_error(request, error))
            return
        attempts = PageAttempts(
            self._retries,
            max_attempts=request.max_attempts or 1,
            first=choose_sampling(request.temperature),
        )
        self._waiting.append(_GeneratePage(request, attempts))

    def cancel(self, engine_request_id: str) -> None:
        """End a waiting page now, a running one at its next token; ignore others."""
        for page in self._waiting:
            if page.request.id == engine_request_id:
                self._waiting.remove(page)
                self._ended.append(
                    EngineOutput(engine_request_id, FinishReason.ABORTED)
                )
                return
        if engine_request_id in self._progress:
            self._cancelled.add(engine_request_id)

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._ended)

    def count_output_tokens(self) -> dict[str, int]:
        return dict(self._progress)

    def step(self, poll: Callable[[], None]) -> list[EngineOutput]:
        """Read the next waiting pages that have the same sampling, in one batch.

        Calls `poll` after each token. Pages that repeat themselves and have attempts
        left are queued again, before the others. Returns the outputs of pages that
        ended, also of those that ended since the last step.
        """
        batch: list[_GeneratePage] = []
        limit = self._max_running_pages
        while len(batch) < limit and self._next_has_same_sampling(batch):
            batch.append(self._waiting.popleft())
        to_retry = []
        for page, output in zip(batch, self._read(batch, poll), strict=True):
            if (ended := _final_output(page, output)) is not None:
                self._ended.append(ended)
            else:
                to_retry.append(page)
        # Retries go before pages that came later and have not started.
        self._waiting.extendleft(reversed(to_retry))
        outputs, self._ended = self._ended, []
        return outputs

    def _next_has_same_sampling(self, batch: list[_GeneratePage]) -> bool:
        """Return True if the next waiting page has the same sampling as the batch."""
        if not self._waiting or not batch:
            return bool(self._waiting)
        return self._waiting[0].attempts.sampling == batch[0].attempts.sampling

    def _read(
        self, batch: list[_GeneratePage], poll: Callable[[], None]
    ) -> list[EngineOutput]:
        """Return the outputs of a batch; read its pages alone if memory is short.

        A page that does not fit alone gets an output with an error.
        """
        if not batch:
            return []
        self._progress = {page.request.id: 0 for page in batch}
        try:
            if (outputs := self._generate_batch(batch, poll)) is not None:
                return outputs
            if len(batch) == 1:
                return [_make_too_large_output(batch[0].request)]
            # The memory may suffice for each page alone.
            return [
                output
                for page in batch
                for output in self._generate_batch([page], poll)
                or [_make_too_large_output(page.request)]
            ]
        finally:
            self._progress = {}
            self._cancelled = set()

    def _generate_batch(
        self, batch: list[_GeneratePage], poll: Callable[[], None]
    ) -> list[EngineOutput] | None:
        """Return the batch's outputs; None if the GPU has no memory for them.

        Memory is freed after the `except` block, because the exception keeps the
        tensors of the failed call alive.
        """
        started = self._clock()
        try:
            sampling = batch[0].attempts.sampling
            requests = [page.request for page in batch]
            outputs = self._generate(requests, sampling, poll)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            outputs = None
        if outputs is None:
            torch.cuda.empty_cache()
            return None
        seconds = self._clock() - started
        return [replace(output, page_seconds=seconds) for output in outputs]

    @torch.inference_mode()
    def _generate(
        self, batch: list[EngineRequest], sampling: Sampling, poll: Callable[[], None]
    ) -> list[EngineOutput]:
        pages = [
            self._model.prepare_inputs(request.page, request.prompt)
            for request in batch
        ]
        prompt_length = max(len(page.input_ids) for page in pages)
        room = self._model.max_tokens - prompt_length
        limits = [max(1, min(request.max_output_tokens, room)) for request in batch]
        pad_id = self._model.stop_token_ids[-1]
        input_ids = torch.stack([_left_pad(p, prompt_length, pad_id) for p in pages])
        mask = torch.stack([_left_pad(p, prompt_length, 0, ones=True) for p in pages])
        criterion = _StopAtLimit(self, batch, limits, prompt_length, poll)
        self.steps.start(StepKind.ENCODE, input_ids.numel())
        generated = self._model.module.generate(
            input_ids=input_ids,
            attention_mask=mask,
            mm_token_type_ids=(input_ids == self._model.image_token_id).int(),
            pixel_values=torch.cat([page.pixel_values for page in pages]),
            image_grid_thw=torch.tensor([page.grid for page in pages]).to(mask.device),
            generation_config=GenerationConfig(
                **_generation_options(sampling),
                num_beams=1,
                max_new_tokens=max(limits),
                eos_token_id=list(self._model.stop_token_ids),
                pad_token_id=pad_id,
            ),
            stopping_criteria=StoppingCriteriaList([criterion]),
        )
        rows = generated[:, prompt_length:].tolist()
        return [
            self._build_output(request, row[: limits[i]])
            for i, (request, row) in enumerate(zip(batch, rows, strict=True))
        ]

    def _build_output(self, request: EngineRequest, row: list[int]) -> EngineOutput:
        stops = self._model.stop_token_ids
        length = next((i for i, token in enumerate(row) if token in stops), len(row))
        if request.id in self._cancelled:
            reason = FinishReason.ABORTED
        elif length < len(row):
            reason = FinishReason.STOP
        else:
            reason = FinishReason.LENGTH
        return EngineOutput(
            request.id,
            reason,
            text=self._model.detokenise(row[:length]),
            num_output_tokens=length,
            num_forwards=length,
        )


def _generation_options(sampling: Sampling) -> dict[str, Any]:
    """Convert sampling parameters to options of `generate`."""
    if sampling.temperature == 0:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,  # transformers' default would leave 50 tokens to draw from.
    }


def _final_output(page: _GeneratePage, output: EngineOutput) -> EngineOutput | None:
    """Add the output of an attempt to a page; return the page's final output.

    Returns None if another attempt is due.
    """
    page.num_forwards += output.num_forwards
    page.seconds += output.page_seconds
    if output.finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
        text = output.text
        page.attempts.add(
            PageAttempt(
                text,
                output.finish_reason,
                output.num_output_tokens,
                find_repetition(text),
            )
        )
        if not page.attempts.is_over:
            return None
        output = page.attempts.build_output(output.engine_request_id)
    return replace(output, num_forwards=page.num_forwards, page_seconds=page.seconds)


def _make_too_large_output(request: EngineRequest) -> EngineOutput:
    return EngineOutput.from_error(
        request,
        OutOfMemoryError(
            f"a page of {request.page.pixel_width} x {request.page.pixel_height} "
            "pixels does not fit into the accelerator's memory: lower max_side"
        ),
    )


class _StopAtLimit(StoppingCriteria):
    """Criterion that ends cancelled pages and those at their limit after each token.

    It also reports the number of tokens to the engine, and calls `poll`.
    """

    def __init__(
        self,
        engine: GenerateEngine,
        batch: list[EngineRequest],
        limits: list[int],
        prompt_length: int,
        poll: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._batch = batch
        self._limits = limits
        self._prompt_length = prompt_length
        self._poll = poll

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor | None, **kwargs: object
    ) -> torch.Tensor:
        num_tokens = input_ids.shape[1] - self._prompt_length
        for request in self._batch:
            self._engine._progress[request.id] = num_tokens
        self._poll()
        # The next step is the next token's forward pass, if there is one.
        self._engine.steps.start(StepKind.DECODE, len(self._batch))
        is_over = [
            request.id in self._engine._cancelled or num_tokens >= limit
            for request, limit in zip(self._batch, self._limits, strict=True)
        ]
        return torch.tensor(is_over, device=input_ids.device)


def _left_pad(
    page: Inputs, length: int, value: int, *, ones: bool = False
) -> torch.Tensor:
    """Pad token ids, or as many ones, on the left to `length`."""
    content = torch.ones_like(page.input_ids) if ones else page.input_ids
    return torch.nn.functional.pad(content, (length - len(content), 0), value=value)
