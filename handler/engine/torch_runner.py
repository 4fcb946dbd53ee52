"""Qwen3-VL's modules, unmodified, over a cache that many pages share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence as Seq
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from handler.engine import attention
from handler.engine.attention import KVPool, Step
from handler.engine.kv_cache import Move
from handler.engine.model import Model
from handler.engine.model_runner import Chunk, Row
from handler.engine.sampling import Sampling
from handler.engine.sequence import Sequence
from handler.errors import OutOfMemoryError

__all__ = ["KNOWN_MODEL_TYPES", "TorchRunner", "cache_places"]

_GPU_SHARE = 0.92
_GPU_WORKSPACE_BYTES = 1600 * 1024**2
"""For an image of the largest size in the vision encoder; an estimate."""
_CPU_PLACES = 32_768
_CPU_BYTES = 2 * 1024**3

KNOWN_MODEL_TYPES = frozenset({"qwen3_vl"})


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A prompt as the text model takes it. Sizes: n tokens, v of them visual."""

    embeddings: torch.Tensor
    """[n, hidden]"""
    is_image: torch.Tensor
    """[n]"""
    deepstack: list[torch.Tensor]
    """[v, hidden] for each of the first layers."""


@dataclass(eq=False, slots=True)
class TorchPrompt:
    """A page's prompt: what is cheap at once, the image when it is needed."""

    sequence: Sequence = field(repr=False)
    input_ids: torch.Tensor = field(repr=False)
    positions: torch.Tensor = field(repr=False)
    """[3, n], time, height and width of each token."""
    grid: tuple[int, int, int]
    """Frames, rows and columns of patches."""
    rope_delta: int
    """A later token's position is its number plus this, on all three axes."""
    encoded: _Encoded | None = field(default=None, repr=False)

    @property
    def num_tokens(self) -> int:
        return len(self.input_ids)

    @property
    def last_token(self) -> int:
        return int(self.input_ids[-1])


class TorchRunner:
    """A ModelRunner on a processor, or on a GPU without graphs."""

    def __init__(self, model: Model, num_places: int) -> None:
        attention.register()
        self._model = model
        self._module = model.module
        self._text = model.module.model.language_model
        self._text.config._attn_implementation = attention.NAME
        self._device = model.device
        self._pool = KVPool(
            self._text.config, num_places, model.module.dtype, model.device
        )

    @property
    def num_places(self) -> int:
        return self._pool.num_places

    @property
    def max_tokens(self) -> int:
        return self._model.max_tokens

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        return self._model.stop_token_ids

    @torch.inference_mode()
    def prompt_from(self, sequence: Sequence) -> TorchPrompt:
        input_ids, grid = self._model.tokens_from(sequence.page, sequence.prompt)
        is_image = input_ids == self._model.image_token_id
        positions, rope_delta = self._module.model.get_rope_index(
            input_ids[None],
            mm_token_type_ids=is_image[None].int(),
            image_grid_thw=torch.tensor([grid]),
        )
        return TorchPrompt(
            sequence=sequence,
            input_ids=input_ids,
            positions=positions[:, 0].to(self._device),
            grid=grid,
            rope_delta=int(rope_delta),
        )

    def forget(self, prompt: TorchPrompt) -> None:
        prompt.encoded = None

    def move(self, moves: Seq[Move]) -> None:
        for move in moves:
            self._pool.copy(move.source, move.target, move.length)

    def text_from(self, token_ids: Seq[int]) -> str:
        return self._model.text_from(list(token_ids))

    def prefill(self, chunk: Chunk[TorchPrompt]) -> int:
        with _memory_errors(chunk.prompt):
            return self._prefill(chunk)

    def decode(self, rows: Seq[Row[TorchPrompt]]) -> list[list[int]]:
        with _memory_errors(rows[-1].prompt):
            return self._decode(rows)

    @torch.inference_mode()
    def _prefill(self, chunk: Chunk[TorchPrompt]) -> int:
        prompt, start, end = chunk.prompt, chunk.start, chunk.start + chunk.count
        num_prompt = prompt.num_tokens
        embeddings, positions = [], []
        is_image = deepstack = None
        if start < num_prompt:
            encoded = prompt.encoded = prompt.encoded or self._encode(prompt)
            embeddings.append(encoded.embeddings[start:end])
            positions.append(prompt.positions[:, start:end])
            is_image = encoded.is_image[start:end]
            before = int(encoded.is_image[:start].sum())
            visual = slice(before, before + int(is_image.sum()))
            deepstack = [layer[visual] for layer in encoded.deepstack]
        if end > num_prompt:
            said = slice(max(0, start - num_prompt), end - num_prompt)
            tokens = list(chunk.output[said])
            embeddings.append(self._embed(tokens))
            first = max(start, num_prompt) + prompt.rope_delta
            positions.append(self._positions(range(first, first + len(tokens))))
            if is_image is not None:
                is_image = torch.cat([is_image, is_image.new_zeros(len(tokens))])
        if end >= num_prompt:
            prompt.encoded = None  # gigabytes on a long day
        places = torch.arange(
            chunk.segment_start + start, chunk.segment_start + end, device=self._device
        )
        step = Step(self._pool, places, [chunk.count], [chunk.segment_start], [end])
        has_image = is_image is not None and bool(is_image.any())
        hidden = self._forward(
            torch.cat(embeddings),
            torch.cat(positions, dim=1),
            step,
            is_image if has_image else None,
            deepstack if has_image else None,
        )
        [token] = self._choose(hidden[-1:], [chunk.sampling])
        return token

    @torch.inference_mode()
    def _decode(self, rows: Seq[Row[TorchPrompt]]) -> list[list[int]]:
        counts = [len(row.tokens) for row in rows]
        tokens = [token for row in rows for token in row.tokens]
        numbers = [row.start + i for row in rows for i in range(len(row.tokens))]
        deltas = [row.prompt.rope_delta for row in rows for _ in row.tokens]
        begins = [row.segment_start for row in rows for _ in row.tokens]
        places = [begin + number for begin, number in zip(begins, numbers, strict=True)]
        positions = [
            number + delta for number, delta in zip(numbers, deltas, strict=True)
        ]
        step = Step(
            self._pool,
            torch.tensor(places, device=self._device),
            counts,
            [row.segment_start for row in rows],
            [row.start + len(row.tokens) for row in rows],
        )
        hidden = self._forward(self._embed(tokens), self._positions(positions), step)
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
        if self._device.type == "cuda":
            _describe_on_device(step, self._device)
        states: torch.Tensor = self._text(
            inputs_embeds=embeddings[None],
            position_ids=positions[:, None],
            visual_pos_masks=None if is_image is None else is_image[None],
            deepstack_visual_embeds=deepstack,
            use_cache=False,
            step=step,
        ).last_hidden_state
        return states[0]

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

    def _positions(self, numbers: Seq[int]) -> torch.Tensor:
        return torch.tensor(list(numbers), device=self._device).expand(3, -1)

    def _encode(self, prompt: TorchPrompt) -> _Encoded:
        features = self._module.model.get_image_features(
            self._model.pixel_values_of(prompt.sequence.page),
            torch.tensor([prompt.grid], device=self._device),
            return_dict=True,
        )
        is_image = prompt.input_ids == self._model.image_token_id
        embeddings = self._text.embed_tokens(prompt.input_ids)
        pictures = torch.cat(list(features.pooler_output)).to(embeddings.dtype)
        return _Encoded(
            embeddings=embeddings.masked_scatter(is_image[:, None], pictures),
            is_image=is_image,
            deepstack=[_joined(layer) for layer in features.deepstack_features],
        )


@contextmanager
def _memory_errors(prompt: TorchPrompt) -> Iterator[None]:
    """Turn torch's error into ours, and give back what the failed try held."""
    is_short = False
    try:
        yield
    except torch.OutOfMemoryError:
        is_short = True
    # Out here the exception is gone, and with it what it held on the device.
    if is_short:
        torch.cuda.empty_cache()
        page = prompt.sequence.page
        raise OutOfMemoryError(
            f"a page of {page.pixel_width} x {page.pixel_height} pixels does not fit "
            "into the accelerator's memory: lower max_side or kv_cache_tokens"
        )


def cache_places(model: Model) -> int:
    """How many tokens' keys and values there is memory for, the weights being there.

    On a GPU most of what is free; the rest is for encoding images and for logits.
    """
    config = model.module.model.language_model.config
    num_values = 2 * config.num_hidden_layers * config.num_key_value_heads
    bytes_a_place: int = num_values * config.head_dim * model.module.dtype.itemsize
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        budget = int(free * _GPU_SHARE) - _GPU_WORKSPACE_BYTES
        return max(1, budget // bytes_a_place)
    return min(_CPU_PLACES, _CPU_BYTES // bytes_a_place)


def _joined(layer: torch.Tensor | Seq[torch.Tensor]) -> torch.Tensor:
    return layer if isinstance(layer, torch.Tensor) else torch.cat(list(layer))


def _describe_on_device(step: Step, device: torch.device) -> None:
    """Put the step's lists where the operator reads them."""
    ends = torch.tensor([0, *step.num_queries]).cumsum(0)
    starts = torch.tensor([*step.segment_starts, step.pool.num_places])
    used = torch.tensor(step.num_used)
    step.tensors = (
        ends.to(device, torch.int32),
        starts.to(device, torch.int32),
        used.to(device, torch.int32),
    )
    step.max_queries, step.max_used = max(step.num_queries), max(step.num_used)


def _sampled(logits: torch.Tensor, sampling: Sampling) -> int:
    """A token from the smallest set whose probability reaches `top_p`."""
    probabilities = (logits.float() / sampling.temperature).softmax(dim=-1)
    ordered, ids = probabilities.sort(descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered.masked_fill(before >= sampling.top_p, 0.0)
    return int(ids[torch.multinomial(ordered, 1)])
