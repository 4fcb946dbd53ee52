"""Prefill and decode steps of Qwen3-VL over a cache that many pages share."""

from __future__ import annotations

from collections.abc import Callable, Sequence as Seq
from typing import Any, TypeVar

import torch

from handler.engine.attention import KVPool, PageSpan, Step, has_operator
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
from handler.engine.text_forward import TextForward
from handler.engine.transfer import copy_to
from handler.errors import OutOfMemoryError

__all__ = ["KNOWN_MODEL_TYPES", "TorchRunner"]

T = TypeVar("T")

KNOWN_MODEL_TYPES = frozenset({"qwen3_vl"})


class TorchRunner:
    """A ModelRunner over the weights of transformers' modules.

    Steps that fit one of `graph_shapes` are replayed. `max_page_tokens` bounds a
    page's prompt and answer together, where less than the model's own limit is known:
    the operator divides the longest page there could be among the device's units, and
    a short one is read by few of them. `use_operator` False makes torch's own
    attention run page by page where the CUDA operator could; True needs the operator.
    With `draft_rows` a page's drafts are verified as rows of one query each that share
    the page's segment: the operator reads the keys of such rows in parallel, and those
    of several queries one after the other.
    An image is encoded in slices that take about as long as a prefill of
    `max_prefill_tokens`.
    `shrink_cache` leaves at least `min_places` and gives up at least `image_places`.
    """

    def __init__(
        self,
        model: Model,
        num_places: int,
        *,
        max_page_tokens: int | None = None,
        graph_shapes: Seq[Shape] = (),
        record: Record | None = None,
        use_operator: bool | None = None,
        draft_rows: bool = False,
        max_prefill_tokens: int = 1024,
        min_places: int = 1,
        image_places: int = 0,
    ) -> None:
        self._model = model
        self._config = model.module.model.language_model.config
        self._dtype = model.module.dtype
        self._device = model.device
        self._encoder = Encoder(model, max_prefill_tokens)
        self._forward = TextForward(model.module)
        self._max_tokens = min(max_page_tokens or model.max_tokens, model.max_tokens)
        self._graph_shapes = tuple(graph_shapes)
        self._record = record
        if use_operator is None:
            use_operator = has_operator(model.device, self._dtype)
        self._use_operator = use_operator
        self._draft_rows = draft_rows
        self._min_places = min_places
        self._image_places = image_places
        self._allocate_cache(num_places)

    def _allocate_cache(self, num_places: int) -> None:
        """Make the cache of keys and values, and record the graphs that use it."""
        self._num_places = num_places
        # Behind the places of pages, those that idle rows of a graph write to.
        num_idle = max((shape.width for shape in self._graph_shapes), default=0)
        self._pool = KVPool(
            self._config, num_places + num_idle, self._dtype, self._device
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
    def graphs(self) -> DecodeGraphs:
        """The recorded steps; empty if there are none."""
        return self._graphs

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        return self._model.stop_token_ids

    def prompt_from(self, sequence: Sequence) -> TorchPrompt:
        return self._encoder.prompt_from(sequence)

    def encode(self, prompt: TorchPrompt) -> bool:
        return _run_in_memory(_size_of(prompt), lambda: self._encoder.encode(prompt))

    def forget(self, prompt: TorchPrompt) -> None:
        prompt.drop_image()

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
        logits = self._compute_chunk(chunk)
        if logits is None:
            return None
        return int(_chosen(logits, [chunk.sampling]))

    def _compute_chunk(self, chunk: Chunk[TorchPrompt]) -> torch.Tensor | None:
        """Compute a chunk; [1, vocabulary] logits behind its last token if it is last.

        Nothing here waits for the device once the page's image is encoded.
        """
        prompt, start, end = chunk.prompt, chunk.start, chunk.end
        num_prompt = prompt.num_tokens
        embeddings, positions = [], []
        deepstack = None
        if start < num_prompt:
            encoded = self._encoder.encoded(prompt)
            embeddings.append(encoded.embeddings[start:end])
            positions.append(prompt.positions[:, start:end])
            deepstack = encoded.deepstack_of(start, end)
        if end > num_prompt:
            said = slice(max(0, start - num_prompt), end - num_prompt)
            tokens = self._on_device(list(chunk.output[said]), torch.int64)
            embeddings.append(self._forward.embed(tokens))
            first = max(start, num_prompt) + prompt.rope_delta
            numbers = torch.arange(first, first + len(tokens), device=self._device)
            positions.append(numbers.expand(3, -1))
        if end >= num_prompt:
            self.forget(prompt)  # Encoded images add up to gigabytes.
        segment = chunk.segment_start
        places = torch.arange(segment + start, segment + end, device=self._device)
        states = self._forward.states(
            torch.cat(embeddings),  # A copy: the prompt's own are not overwritten.
            torch.cat(positions, dim=1),
            self._step(places, [PageSpan(0, chunk.count, segment, end)]),
            deepstack,
            num_last=1 if chunk.is_last else 0,
        )
        return self._forward.logits(states) if chunk.is_last else None

    @torch.inference_mode()
    def _decode(self, rows: Seq[Row[TorchPrompt]]) -> list[list[int]]:
        fixed = [
            FixedRow(row.tokens, row.start, row.segment_start, row.prompt.rope_delta)
            for row in rows
        ]
        if (shape := self._graphs.shape_for(fixed)) is None:
            return self._decode_eagerly(rows)
        tokens, logits = self._graphs.run(fixed, shape)
        for index, row in enumerate(rows):
            if row.sampling.temperature > 0:
                tokens[index, 0] = _sampled(logits[index], row.sampling)
        chosen: list[list[int]] = tokens.tolist()
        for index, row in enumerate(rows):
            # Drafts are compared with the likeliest token: a drawn one has none.
            is_drawn = row.sampling.temperature > 0
            del chosen[index][1 if is_drawn else len(row.tokens) :]
        return chosen

    def _decode_fixed(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute what a graph records, see `graphs.Compute`, waiting for nothing."""
        logits = self.compute_logits(numbers)
        return logits.argmax(dim=-1), logits.select(1, 0).clone()

    @torch.inference_mode()
    def compute_logits(self, numbers: torch.Tensor) -> torch.Tensor:
        """Compute a step of a fixed shape eagerly, waiting for nothing.

        [rows, width + NUM_FACTS] as of `graphs.Compute` to [rows, width, vocabulary].
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
            self._pool,
            places=((segment + start).unsqueeze(1) + offsets).flatten(),
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
            max_used=min(self.max_tokens + width, self._pool.num_places),
            use_operator=self._use_operator,
        )
        states = self._forward.states(
            self._forward.embed(tokens),
            ((start + delta).unsqueeze(1) + offsets).flatten(),
            step,
        )
        return self._forward.logits(states).view(num_rows, width, -1)

    def _decode_eagerly(self, rows: Seq[Row[TorchPrompt]]) -> list[list[int]]:
        samplings = [row.sampling for row in rows for _ in row.tokens]
        chosen = iter(_chosen(self._compute_rows(rows), samplings).tolist())
        return [[next(chosen) for _ in row.tokens] for row in rows]

    def _compute_rows(self, rows: Seq[Row[TorchPrompt]]) -> torch.Tensor:
        """Compute rows; [T, vocabulary] logits behind each of their tokens.

        Nothing here waits for the device.
        """
        flat = [
            (token, row.segment_start + number, number + row.prompt.rope_delta)
            for row in rows
            for number, token in enumerate(row.tokens, row.start)
        ]
        tokens, places, positions = self._on_device(flat, torch.int64).T
        states = self._forward.states(
            self._forward.embed(tokens),
            positions,
            self._step(places, self._spans(rows)),
        )
        return self._forward.logits(states)

    def _spans(self, rows: Seq[Row[TorchPrompt]]) -> list[PageSpan]:
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

    def _step(self, places: torch.Tensor, spans: list[PageSpan]) -> Step:
        """Describe a step whose numbers are known on the host."""
        count = len(spans)
        numbers = self._on_device(
            [
                *(span.begin for span in spans),
                spans[-1].end,
                *(span.start for span in spans),
                self._num_places,
                *(span.used for span in spans),
            ],
            torch.int32,
        )
        step = Step(
            self._pool,
            places,
            query_starts=numbers[: count + 1],
            segment_starts=numbers[count + 1 : 2 * count + 2],
            num_used=numbers[2 * count + 2 :],
            max_queries=max(span.end - span.begin for span in spans),
            max_used=max(span.used for span in spans),
            use_operator=self._use_operator,
        )
        step.spans = spans
        return step

    def _on_device(self, numbers: Seq[Any], dtype: torch.dtype) -> torch.Tensor:
        """Copy numbers to the device without waiting for what it computes."""
        return copy_to(self._device, torch.tensor(numbers, dtype=dtype))


def _chosen(logits: torch.Tensor, samplings: Seq[Sampling]) -> torch.Tensor:
    """Choose a token from each of [n, vocabulary] logits; [n], not waited for."""
    chosen = logits.argmax(dim=-1)
    for index, sampling in enumerate(samplings):
        if sampling.temperature > 0:
            chosen[index] = _sampled(logits[index], sampling)
    return chosen


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


def _sampled(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Draw a token from the smallest set whose probability reaches `top_p`.

    As `torch.multinomial` draws one, without its check, which waits for the device.
    """
    probabilities = (logits.float() / sampling.temperature).softmax(dim=-1)
    ordered, ids = probabilities.sort(descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered.masked_fill(before >= sampling.top_p, 0.0)
    drawn = (ordered / torch.empty_like(ordered).exponential_()).argmax(keepdim=True)
    return ids.gather(0, drawn)[0]
