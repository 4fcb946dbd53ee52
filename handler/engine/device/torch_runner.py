"""Runner of prefill and decode steps of Qwen3-VL over a shared KV cache."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from handler.engine.batching.kv_cache import Move
from handler.engine.batching.memory_plan import shrunk_cache_tokens
from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.device.attention import KVCache, has_operator
from handler.engine.device.encoder import Encoder, TorchPrompt
from handler.engine.device.graphs import (
    NUM_FACTS,
    DecodeGraphs,
    FixedRow,
    Record,
    Shape,
    make_cuda_recorder,
)
from handler.engine.device.model import Model
from handler.engine.device.sampling import choose_tokens, sample_token
from handler.engine.device.step_builder import StepBuilder
from handler.engine.device.text_forward import TextForward
from handler.engine.device.transfer import copy_to
from handler.engine.fallbacks import Check, Fallback, SelfTestError
from handler.engine.out_of_memory import is_out_of_memory
from handler.engine.request import EngineRequest
from handler.errors import OutOfMemoryError
from handler.schema import Page

__all__ = ["KNOWN_MODEL_TYPES", "TorchRunner"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

KNOWN_MODEL_TYPES = frozenset({"qwen3_vl"})


class TorchRunner:
    """ModelRunner that computes with the weights of transformers' modules.

    - `graph_shapes`: shapes of decode steps that are recorded and replayed.
    - `max_page_tokens`: upper bound of a page's prompt and output together, if it is
      below the model's limit. The operator divides the longest possible page among the
      device's units, so with a high bound few units read a short page.
    - `use_operator`: None uses the CUDA operator if the device has it, False uses
      torch's attention page by page, True requires the operator.
    - `draft_rows`: verify a page's drafts as rows of one query each that share the
      page's segment. The operator reads the keys of such rows in parallel, and those
      of several queries one after the other.
    - `max_prefill_tokens`: an image is encoded in slices that take about as long as a
      prefill of this many tokens.
    - `min_cache_tokens`, `image_tokens`: `shrink_cache` keeps at least the first and
      gives up at least the second.
    - `check_graphs`: called after `shrink_cache` has recorded the steps again; raises
      SelfTestError if they are wrong. If either fails, steps are eager from then on.
    - `encoder`, `text_forward`: used instead of those of `model`, in tests. An encoder
      has its own size of slices, instead of `max_prefill_tokens`.
    """

    def __init__(
        self,
        model: Model,
        num_cache_positions: int,
        *,
        max_page_tokens: int | None = None,
        graph_shapes: Sequence[Shape] = (),
        record: Record | None = None,
        check_graphs: Callable[[TorchRunner], None] | None = None,
        use_operator: bool | None = None,
        draft_rows: bool = False,
        max_prefill_tokens: int = 1024,
        min_cache_tokens: int = 1,
        image_tokens: int = 0,
        encoder: Encoder | None = None,
        text_forward: TextForward | None = None,
    ) -> None:
        self._model = model
        self._config = model.module.model.language_model.config
        self._dtype = model.module.dtype
        self._device = model.device
        self._encoder = encoder or Encoder(model, max_prefill_tokens)
        self._forward = text_forward or TextForward(model.module)
        self._max_tokens = min(max_page_tokens or model.max_tokens, model.max_tokens)
        self._graph_shapes = tuple(graph_shapes)
        self._record = record or make_cuda_recorder(model.device)
        self._check_graphs = check_graphs
        if use_operator is None:
            use_operator = has_operator(model.device, self._dtype)
        self._use_operator = use_operator
        self._draft_rows = draft_rows
        self._min_cache_tokens = min_cache_tokens
        self._image_tokens = image_tokens
        self._allocate_cache(num_cache_positions)

    def _allocate_cache(self, num_cache_positions: int) -> None:
        """Allocate the KV cache, and record the graphs that use it."""
        self._num_cache_positions = num_cache_positions
        # Padding rows of a recorded step write to positions behind those of pages.
        num_idle = max((shape.width for shape in self._graph_shapes), default=0)
        self._cache = KVCache(
            self._config, num_cache_positions + num_idle, self._dtype, self._device
        )
        self._step_builder = StepBuilder(
            self._cache,
            self._device,
            max_page_tokens=self._max_tokens,
            use_operator=self._use_operator,
            draft_rows=self._draft_rows,
        )
        with torch.inference_mode():
            self._graphs = DecodeGraphs(
                self.decode_fixed,
                self._graph_shapes,
                device=self._device,
                idle_segment=num_cache_positions,
                record=self._record,
            )

    @property
    def num_cache_positions(self) -> int:
        return self._num_cache_positions

    @property
    def graphs(self) -> DecodeGraphs:
        """Recorded steps; empty if there are none."""
        return self._graphs

    @property
    def cache(self) -> KVCache:
        """KV cache of all pages."""
        return self._cache

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        return self._model.stop_token_ids

    def tokenise(self, request: EngineRequest) -> TorchPrompt:
        """Tokenise a page's prompt.

        Raises InvalidOptionError if it is too long, and OutOfMemoryError.
        """
        subject = _describe_page(request.page)
        return _convert_out_of_memory(subject, lambda: self._encoder.tokenise(request))

    def encode(self, prompt: TorchPrompt) -> bool:
        """Encode the next slice of the image; return whether the image is complete.

        Raises OutOfMemoryError, after which the prompt has no slices.
        """
        return _convert_out_of_memory(
            _describe_page(prompt.request.page), lambda: self._encoder.encode(prompt)
        )

    def release_image(self, prompt: TorchPrompt) -> None:
        prompt.release_image()

    def move(self, moves: Sequence[Move]) -> None:
        """Copy cache positions in the order of the moves; raise OutOfMemoryError."""
        _convert_out_of_memory("moving the cache of a page", lambda: self._move(moves))

    def shrink_cache(self) -> int | None:
        """Replace the cache by a smaller, empty one, and record the steps again.

        Returns the number of its positions, or None without a change if it would be too
        small. If recording or the check of the graphs fails, logs it, and steps are
        eager from then on.
        """
        num_cache_positions = shrunk_cache_tokens(
            self._num_cache_positions,
            page_tokens=self._min_cache_tokens,
            image_tokens=self._image_tokens,
        )
        if num_cache_positions is None:
            return None
        # The old cache must be gone before the new one is allocated.
        self._release_cache()
        if not self._graph_shapes:
            self._allocate_cache(num_cache_positions)
        elif not self._record_again(num_cache_positions):
            # The memory of the failed attempt can be released only now.
            self._graph_shapes = ()
            self._release_cache()
            self._allocate_cache(num_cache_positions)
        return num_cache_positions

    def _release_cache(self) -> None:
        """Delete the cache and the graphs, and release their memory on the device."""
        for name in ("_graphs", "_step_builder", "_cache"):
            if hasattr(self, name):
                delattr(self, name)
        gc.collect()
        torch.cuda.empty_cache()

    def _record_again(self, num_cache_positions: int) -> bool:
        """Allocate a cache, record the graphs and check them; return whether it worked.

        They are checked again because their addresses differ from those of the graphs
        that passed the self-test. Logs a failure.
        """
        try:
            self._allocate_cache(num_cache_positions)
            if self._check_graphs is not None:
                self._check_graphs(self)
        except Exception as error:
            is_wrong = isinstance(error, SelfTestError)
            logger.warning(
                "self-test failed",
                extra={
                    "check": Check.CUDA_GRAPHS,
                    "fallback": Fallback.CUDA_GRAPHS_MISMATCH
                    if is_wrong
                    else Fallback.CUDA_GRAPHS_FAILED,
                    "from": "recorded steps",
                    "to": "eager steps",
                    "how": f"{type(error).__name__}: {error}",
                },
                exc_info=not is_wrong,
            )
            return False
        return True

    def detokenise(self, token_ids: Sequence[int]) -> str:
        return self._model.detokenise(list(token_ids))

    def prefill(self, chunk: Chunk[TorchPrompt]) -> int | None:
        """Compute a chunk, and the rest of the image before its first token.

        Returns the next token after the last chunk, otherwise None. Releases the image
        at the end of the prompt. Raises OutOfMemoryError.
        """
        return _convert_out_of_memory(
            _describe_page(chunk.prompt.request.page), lambda: self._prefill(chunk)
        )

    def decode(self, rows: Sequence[Row[TorchPrompt]]) -> list[list[int]]:
        """Return the next token after each token of each row.

        Replays a recorded step if one has room for the rows. Raises OutOfMemoryError.
        """
        return _convert_out_of_memory(
            _describe_page(rows[-1].prompt.request.page), lambda: self._decode(rows)
        )

    def _move(self, moves: Sequence[Move]) -> None:
        for move in moves:
            self._cache.copy(move.source, move.target, move.length)

    @torch.inference_mode()
    def _prefill(self, chunk: Chunk[TorchPrompt]) -> int | None:
        logits = self.compute_chunk(chunk)
        if logits is None:
            return None
        return int(choose_tokens(logits, [chunk.sampling]))

    @torch.inference_mode()
    def compute_chunk(self, chunk: Chunk[TorchPrompt]) -> torch.Tensor | None:
        """Compute a chunk; return [1, vocabulary] logits if it is the last, else None.

        Does not wait for the device once the page's image is encoded.
        """
        prompt, start, end = chunk.prompt, chunk.start, chunk.end
        num_prompt = prompt.num_tokens
        embeddings, positions = [], []
        deepstack = None
        if start < num_prompt:
            encoded = self._encoder.finish_encoding(prompt)
            embeddings.append(encoded.embeddings[start:end])
            positions.append(prompt.positions[:, start:end])
            deepstack = encoded.select_deepstack(start, end)
        if end > num_prompt:
            part = slice(max(0, start - num_prompt), end - num_prompt)
            tokens = copy_to(
                self._device, torch.tensor(chunk.output_tokens[part], dtype=torch.int64)
            )
            embeddings.append(self._forward.embed(tokens))
            first = max(start, num_prompt) + prompt.rope_delta
            numbers = torch.arange(first, first + len(tokens), device=self._device)
            positions.append(numbers.expand(3, -1))
        if end >= num_prompt:
            self.release_image(prompt)  # Encoded images add up to gigabytes.
        states = self._forward.compute_states(
            torch.cat(embeddings),  # A copy, because `states` overwrites it.
            torch.cat(positions, dim=1),
            self._step_builder.build_chunk_step(chunk),
            deepstack,
            num_last=1 if chunk.is_last else 0,
        )
        return self._forward.compute_logits(states) if chunk.is_last else None

    @torch.inference_mode()
    def _decode(self, rows: Sequence[Row[TorchPrompt]]) -> list[list[int]]:
        fixed = [
            FixedRow(row.tokens, row.start, row.segment_start, row.prompt.rope_delta)
            for row in rows
        ]
        if (shape := self._graphs.find_shape(fixed)) is None:
            return self._decode_eagerly(rows)
        tokens, logits = self._graphs.run(fixed, shape)
        for index, row in enumerate(rows):
            if row.sampling.temperature > 0:
                tokens[index, 0] = sample_token(logits[index], row.sampling)
        chosen: list[list[int]] = tokens.tolist()
        for index, row in enumerate(rows):
            # Draft tokens are verified against the most likely token, so sampled rows
            # have none.
            is_sampled = row.sampling.temperature > 0
            del chosen[index][1 if is_sampled else len(row.tokens) :]
        return chosen

    def decode_fixed(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute a step to be recorded, without host waits; see `graphs.Compute`."""
        logits = self.compute_logits(numbers)
        return logits.argmax(dim=-1), logits.select(1, 0).clone()

    @torch.inference_mode()
    def compute_logits(self, numbers: torch.Tensor) -> torch.Tensor:
        """Compute the logits of a step of a fixed shape, and fill the KV cache.

        The host does not wait for the device, so that the step can be recorded. Maps
        the [rows, width + NUM_FACTS] numbers of `graphs.Compute` to [rows, width,
        vocabulary].
        """
        num_rows, width = numbers.shape[0], numbers.shape[1] - NUM_FACTS
        inputs = self._step_builder.build_fixed_step(numbers)
        states = self._forward.compute_states(
            self._forward.embed(inputs.tokens), inputs.positions, inputs.step
        )
        return self._forward.compute_logits(states).view(num_rows, width, -1)

    def _decode_eagerly(self, rows: Sequence[Row[TorchPrompt]]) -> list[list[int]]:
        samplings = [row.sampling for row in rows for _ in row.tokens]
        chosen = iter(choose_tokens(self.compute_rows(rows), samplings).tolist())
        return [[next(chosen) for _ in row.tokens] for row in rows]

    @torch.inference_mode()
    def compute_rows(self, rows: Sequence[Row[TorchPrompt]]) -> torch.Tensor:
        """Return the [T, vocabulary] logits after each token of the rows.

        Does not wait for the device.
        """
        inputs = self._step_builder.build_step(rows)
        states = self._forward.compute_states(
            self._forward.embed(inputs.tokens), inputs.positions, inputs.step
        )
        return self._forward.compute_logits(states)


def _convert_out_of_memory(subject: str, compute: Callable[[], T]) -> T:
    """Return the result of `compute`; raise OutOfMemoryError if memory is short.

    Releases torch's unused memory first. Other errors pass through. The exception of
    `compute` keeps the tensors in the frames of the failed call alive. It is freed
    after the `except` block; raised in a context manager, the new error would keep it.
    """
    try:
        return compute()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    torch.cuda.empty_cache()
    raise OutOfMemoryError(
        f"{subject} does not fit into the accelerator's memory: lower max_side or "
        "kv_cache_tokens"
    )


def _describe_page(page: Page) -> str:
    return f"a page of {page.pixel_width} x {page.pixel_height} pixels"
