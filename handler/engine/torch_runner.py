"""Qwen3-VL's modules, unmodified, over a cache that many pages share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence as Seq
from typing import TypeVar

import torch

from handler.engine import attention
from handler.engine.attention import KVPool, Step
from handler.engine.encoder import Encoder, TorchPrompt
from handler.engine.graphs import (
    NUM_FACTS,
    DecodeGraphs,
    FixedRow,
    Record,
    Shape,
)
from handler.engine.kv_cache import Move
from handler.engine.memory_plan import shrunk_cache_tokens
from handler.engine.model import Model
from handler.engine.model_runner import Chunk, Row
from handler.engine.sampling import Sampling
from handler.engine.sequence import Sequence
from handler.errors import OutOfMemoryError

__all__ = ["KNOWN_MODEL_TYPES", "TorchRunner"]

T = TypeVar("T")

KNOWN_MODEL_TYPES = frozenset({"qwen3_vl"})


class TorchRunner:
    """A ModelRunner over transformers' modules.

    Where `graph_shapes` are given, steps that fit one of them are replayed.
    `max_page_tokens` bounds a page's prompt and answer together, where less than the
    model's own limit is known: the operator divides the longest page there could be
    among the device's units, and a short one is read by few of them. `shrink_cache`
    leaves at least `min_places` and gives up at least `image_places`.
    """

    def __init__(
        self,
        model: Model,
        num_places: int,
        *,
        max_page_tokens: int | None = None,
        graph_shapes: Seq[Shape] = (),
        record: Record | None = None,
        min_places: int = 1,
        image_places: int = 0,
    ) -> None:
        attention.register()
        self._model = model
        self._module = model.module
        self._text = model.module.model.language_model
        self._text.config._attn_implementation = attention.NAME
        self._device = model.device
        self._encoder = Encoder(model)
        self._max_tokens = min(max_page_tokens or model.max_tokens, model.max_tokens)
        self._graph_shapes = graph_shapes
        self._record = record
        self._min_places = min_places
        self._image_places = image_places
        self._allocate_cache(num_places)

    def _allocate_cache(self, num_places: int) -> None:
        """Allocate the cache, and record the decode steps that read and write it."""
        self._num_places = num_places
        # Behind the places of pages, those that idle rows of a graph write to.
        num_idle = max((shape.width for shape in self._graph_shapes), default=0)
        self._pool = KVPool(
            self._text.config,
            num_places + num_idle,
            self._model.module.dtype,
            self._device,
        )
        with torch.inference_mode():
            self._graphs = DecodeGraphs(
                self._decode_fixed,
                self._graph_shapes,
                device=self._device,
                idle_segment=num_places,
                record=self._record,
            )

    @property
    def num_places(self) -> int:
        return self._num_places

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        return self._model.stop_token_ids

    def prompt_from(self, sequence: Sequence) -> TorchPrompt:
        return self._encoder.prompt_from(sequence)

    def forget(self, prompt: TorchPrompt) -> None:
        prompt.encoded = None

    def move(self, moves: Seq[Move]) -> None:
        _run_in_memory("moving the cache of a page", lambda: self._move(moves))

    def shrink_cache(self) -> int | None:
        num_places = shrunk_cache_tokens(
            self._num_places,
            page_tokens=self._min_places,
            image_tokens=self._image_places,
        )
        if num_places is None:
            return None
        # The old cache must be gone before the new one is allocated, and with it the
        # graphs, which have its addresses and memory of their own.
        del self._graphs, self._pool
        torch.cuda.empty_cache()
        self._allocate_cache(num_places)
        return num_places

    def text_from(self, token_ids: Seq[int]) -> str:
        return self._model.text_from(list(token_ids))

    def prefill(self, chunk: Chunk[TorchPrompt]) -> int | None:
        return _run_in_memory(_size_of(chunk.prompt), lambda: self._prefill(chunk))

    def decode(self, rows: Seq[Row[TorchPrompt]]) -> list[list[int]]:
        return _run_in_memory(_size_of(rows[-1].prompt), lambda: self._decode(rows))

    def _move(self, moves: Seq[Move]) -> None:
        for move in moves:
            self._pool.copy(move.source, move.target, move.length)

    @torch.inference_mode()
    def _prefill(self, chunk: Chunk[TorchPrompt]) -> int | None:
        prompt, start, end = chunk.prompt, chunk.start, chunk.end
        num_prompt = prompt.num_tokens
        embeddings, positions = [], []
        is_image = deepstack = None
        if start < num_prompt:
            encoded = self._encoder.encoded(prompt)
            embeddings.append(encoded.embeddings[start:end])
            positions.append(prompt.positions[:, start:end])
            is_image, deepstack = encoded.pictures(start, end)
        if end > num_prompt:
            said = slice(max(0, start - num_prompt), end - num_prompt)
            tokens = list(chunk.output[said])
            embeddings.append(self._embed(tokens))
            first = max(start, num_prompt) + prompt.rope_delta
            numbers = torch.arange(first, first + len(tokens), device=self._device)
            positions.append(numbers.expand(3, -1))
            if is_image is not None:
                is_image = torch.cat([is_image, is_image.new_zeros(len(tokens))])
        if end >= num_prompt:
            self.forget(prompt)  # gigabytes on a long day
        places = torch.arange(
            chunk.segment_start + start, chunk.segment_start + end, device=self._device
        )
        step = self._step(places, [chunk.count], [chunk.segment_start], [end])
        hidden = self._forward(
            torch.cat(embeddings),
            torch.cat(positions, dim=1),
            step,
            is_image,
            deepstack,
        )
        if not chunk.is_last:
            return None
        [token] = self._choose(hidden[-1:], [chunk.sampling])
        return token

    @torch.inference_mode()
    def _decode(self, rows: Seq[Row[TorchPrompt]]) -> list[list[int]]:
        fixed = [
            FixedRow(row.tokens, row.start, row.segment_start, row.prompt.rope_delta)
            for row in rows
        ]
        if (shape := self._graphs.shape_for(fixed)) is None:
            return self._decode_eagerly(rows)
        tokens, logits = self._graphs.run(fixed, shape)
        chosen: list[list[int]] = tokens.tolist()
        for index, row in enumerate(rows):
            del chosen[index][len(row.tokens) :]
            # Guesses are held against the likeliest token: what is drawn has none.
            if row.sampling.temperature > 0:
                chosen[index] = [_sampled(logits[index], row.sampling)]
        return chosen

    def _decode_fixed(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a graph records: see `graphs.Compute`. Nothing here asks the device."""
        num_rows, width = numbers.shape[0], numbers.shape[1] - NUM_FACTS
        tokens = numbers[:, :width]
        start, segment, delta = numbers[:, width:].unbind(dim=1)
        offsets = torch.arange(width, device=self._device)
        step = Step(
            self._pool,
            places=((segment + start)[:, None] + offsets).flatten(),
            query_starts=width
            * torch.arange(num_rows + 1, dtype=torch.int32, device=self._device),
            segment_starts=torch.cat([segment, segment[-1:]]).int(),
            num_used=(start + width).int(),
            max_queries=width,
            max_used=min(self.max_tokens + width, self._pool.num_places),
        )
        positions = ((start + delta)[:, None] + offsets).flatten()
        embeddings = self._text.embed_tokens(tokens.flatten())
        hidden = self._forward(embeddings, positions.expand(3, -1), step)
        logits = self._module.lm_head(hidden).view(num_rows, width, -1)
        return logits.argmax(dim=-1), logits[:, 0].clone()

    def _decode_eagerly(self, rows: Seq[Row[TorchPrompt]]) -> list[list[int]]:
        flat = [
            (token, row.segment_start + number, number + row.prompt.rope_delta)
            for row in rows
            for number, token in enumerate(row.tokens, row.start)
        ]
        tokens, places, positions = torch.tensor(flat, device=self._device).T
        counts = [len(row.tokens) for row in rows]
        step = self._step(
            places,
            counts,
            [row.segment_start for row in rows],
            [row.start + len(row.tokens) for row in rows],
        )
        embeddings = self._text.embed_tokens(tokens)
        hidden = self._forward(embeddings, positions.expand(3, -1), step)
        samplings = [row.sampling for row in rows for _ in row.tokens]
        chosen = iter(self._choose(hidden, samplings))
        return [[next(chosen) for _ in range(count)] for count in counts]

    def _forward(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        step: Step,
        is_image: torch.Tensor | None = None,
        deepstack: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """[T, hidden] embeddings and [3, T] positions to [T, hidden] states."""
        states: torch.Tensor = self._text(
            inputs_embeds=embeddings[None],
            position_ids=positions[:, None],
            visual_pos_masks=None if is_image is None else is_image[None],
            deepstack_visual_embeds=deepstack,
            use_cache=False,
            step=step,
        ).last_hidden_state
        return states[0]

    def _step(
        self,
        places: torch.Tensor,
        counts: list[int],
        segment_starts: list[int],
        num_used: list[int],
    ) -> Step:
        def on_device(numbers: list[int]) -> torch.Tensor:
            return torch.tensor(numbers, dtype=torch.int32).to(self._device)

        return Step(
            self._pool,
            places,
            query_starts=on_device([0, *itertools.accumulate(counts)]),
            segment_starts=on_device([*segment_starts, self.num_places]),
            num_used=on_device(num_used),
            max_queries=max(counts),
            max_used=max(num_used),
        )

    def _choose(self, states: torch.Tensor, samplings: Seq[Sampling]) -> list[int]:
        """The token said after each of [T, hidden] states."""
        logits = self._module.lm_head(states)
        chosen: list[int] = logits.argmax(dim=-1).tolist()
        for index, sampling in enumerate(samplings):
            if sampling.temperature > 0:
                chosen[index] = _sampled(logits[index], sampling)
        return chosen

    def _embed(self, tokens: list[int]) -> torch.Tensor:
        embedded: torch.Tensor = self._text.embed_tokens(
            torch.tensor(tokens, device=self._device)
        )
        return embedded


def _run_in_memory(subject: str, compute: Callable[[], T]) -> T:
    """Turn torch's error into OutOfMemoryError, and give back what the try held.

    Tensors in the frames of the failed call live as long as its exception. It is gone
    behind the `except` block; in a context manager it would become the context of ours.
    """
    try:
        return compute()
    except torch.OutOfMemoryError:
        pass
    torch.cuda.empty_cache()
    raise OutOfMemoryError(
        f"{subject} does not fit into the accelerator's memory: lower max_side or "
        "kv_cache_tokens"
    )


def _size_of(prompt: TorchPrompt) -> str:
    page = prompt.sequence.page
    return f"a page of {page.pixel_width} x {page.pixel_height} pixels"


def _sampled(logits: torch.Tensor, sampling: Sampling) -> int:
    """A token from the smallest set whose probability reaches `top_p`."""
    probabilities = (logits.float() / sampling.temperature).softmax(dim=-1)
    ordered, ids = probabilities.sort(descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered.masked_fill(before >= sampling.top_p, 0.0)
    return int(ids[torch.multinomial(ordered, 1)])
