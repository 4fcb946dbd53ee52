"""Inputs of a forward pass of the text model: eager rows, recorded rows, or a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.device.attention import KVCache, PageSpan, Step
from handler.engine.device.encoder import TorchPrompt
from handler.engine.device.graphs import NUM_FACTS
from handler.engine.device.transfer import copy_to

__all__ = ["StepBuilder", "StepInputs"]


@dataclass(frozen=True, slots=True)
class StepInputs:
    """Inputs of a decode step of T tokens, on the device."""

    tokens: torch.Tensor
    """[T] int64"""
    positions: torch.Tensor
    """[T] int64: the RoPE position of each token."""
    step: Step


class StepBuilder:
    """Builder of the inputs of forward passes over one KV cache.

    The host never waits for the device.

    - `max_page_tokens`: upper bound of a page's prompt and output together.
    - `use_operator`: whether steps use the CUDA operator (see `Step`).
    - `draft_rows`: each draft token becomes a row of one query that shares the page's
      segment.
    """

    def __init__(
        self,
        cache: KVCache,
        device: torch.device,
        *,
        max_page_tokens: int,
        use_operator: bool,
        draft_rows: bool,
    ) -> None:
        self._cache = cache
        self._device = device
        self._max_page_tokens = max_page_tokens
        self._use_operator = use_operator
        self._draft_rows = draft_rows

    def build_step(self, rows: Sequence[Row[TorchPrompt]]) -> StepInputs:
        """Build the inputs of an eager decode step of these rows."""
        flat = [
            (token, row.segment_start + number, number + row.prompt.rope_delta)
            for row in rows
            for number, token in enumerate(row.tokens, row.start)
        ]
        tokens, cache_positions, positions = self._to_device(flat, torch.int64).T
        step = self._step_of_spans(cache_positions, self._split_into_spans(rows))
        return StepInputs(tokens, positions, step)

    def build_chunk_step(self, chunk: Chunk[TorchPrompt]) -> Step:
        """Build the step of a prefill chunk."""
        segment = chunk.segment_start
        cache_positions = torch.arange(
            segment + chunk.start, segment + chunk.end, device=self._device
        )
        span = PageSpan(0, chunk.count, segment, chunk.end)
        return self._step_of_spans(cache_positions, [span])

    def build_fixed_step(self, numbers: torch.Tensor) -> StepInputs:
        """Build the inputs of a decode step to be recorded.

        Takes the [rows, width + NUM_FACTS] numbers of `graphs.Compute`. Computes
        everything on the device, because a replay has other numbers.
        """
        num_rows, width = numbers.shape[0], numbers.shape[1] - NUM_FACTS
        tokens = numbers.narrow(1, 0, width).flatten()
        start, segment, delta = numbers.narrow(1, width, NUM_FACTS).unbind(dim=1)
        offsets = torch.arange(width, device=self._device)
        if self._draft_rows:
            num_queries = 1
            num_used = (start.unsqueeze(1) + (offsets + 1)).flatten()
            segments = segment.unsqueeze(1).expand(-1, width).flatten()
        else:
            num_queries, num_used, segments = width, start + width, segment
        step = Step(
            self._cache,
            cache_positions=((segment + start).unsqueeze(1) + offsets).flatten(),
            query_starts=torch.arange(
                0,
                num_rows * width + 1,
                num_queries,
                dtype=torch.int32,
                device=self._device,
            ),
            segment_starts=torch.cat([segments, segments.narrow(0, -1, 1)]).int(),
            num_used=num_used.int(),
            max_queries=num_queries,
            max_used=min(self._max_page_tokens + width, self._cache.num_positions),
            use_operator=self._use_operator,
        )
        positions = ((start + delta).unsqueeze(1) + offsets).flatten()
        return StepInputs(tokens, positions, step)

    def _split_into_spans(self, rows: Sequence[Row[TorchPrompt]]) -> list[PageSpan]:
        """Return a span for each row, or for each of its tokens with `draft_rows`."""
        spans: list[PageSpan] = []
        begin = 0
        for row in rows:
            count = len(row.tokens)
            num_queries = 1 if self._draft_rows else count
            for offset in range(num_queries, count + 1, num_queries):
                end = begin + num_queries
                used = row.start + offset
                spans.append(PageSpan(begin, end, row.segment_start, used))
                begin = end
        return spans

    def _step_of_spans(
        self, cache_positions: torch.Tensor, spans: list[PageSpan]
    ) -> Step:
        """Build a step from numbers on the host, with one copy to the device."""
        count = len(spans)
        numbers = self._to_device(
            [
                *(span.begin for span in spans),
                spans[-1].end,
                *(span.start for span in spans),
                self._cache.num_positions,
                *(span.used for span in spans),
            ],
            torch.int32,
        )
        step = Step(
            self._cache,
            cache_positions,
            query_starts=numbers[: count + 1],
            segment_starts=numbers[count + 1 : 2 * count + 2],
            num_used=numbers[2 * count + 2 :],
            max_queries=max(span.end - span.begin for span in spans),
            max_used=max(span.used for span in spans),
            use_operator=self._use_operator,
        )
        step.spans = spans
        return step

    def _to_device(self, numbers: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        return copy_to(self._device, torch.tensor(numbers, dtype=dtype))
