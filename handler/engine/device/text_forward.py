"""Forward pass of Qwen3-VL's text model in few kernels, with transformers' weights.

The result is that of transformers' `Qwen3VLTextModel`, over a KV cache that many pages
share. A decoder layer takes 15 kernels on a GPU. Only torch's operators are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear, rms_norm, silu

from handler.engine.device.attention import Step, attend
from handler.engine.device.packed_weights import (
    MAX_HOST_BYTES,
    Projection,
    detach_bias,
    pack_text_model,
)
from handler.errors import ModelLoadError

__all__ = ["Deepstack", "TextForward", "find_unsupported_feature"]

_ROPE_TYPES = frozenset({"default", "linear", "llama3", "yarn"})
"""Types whose frequencies do not depend on the length of the input."""
_PROJECTIONS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


@dataclass(frozen=True, slots=True)
class Deepstack:
    """Features of the vision encoder that are added after the first text layers."""

    rows: slice | torch.Tensor
    """The v visual tokens of the forward: a slice if they are contiguous, else [v]
    int64 on the device."""
    layers: Sequence[torch.Tensor]
    """[v, hidden] for each of the first layers."""

    def add_to(self, states: torch.Tensor, index: int) -> None:
        """Add a layer's features to [T, hidden] states, in place."""
        if isinstance(self.rows, slice):
            states[self.rows].add_(self.layers[index])
        else:
            states.index_add_(0, self.rows, self.layers[index])


@dataclass(frozen=True, slots=True)
class _Layer:
    """Weights of a decoder layer: h hidden, q query and k key heads of size d."""

    input_norm: torch.Tensor
    """[h]"""
    qkv: Projection
    """h to (q + 2k) * d"""
    qk_norm: torch.Tensor
    """[q + k, d]: the queries' weight for each query head, then the keys'."""
    output: torch.Tensor
    """[h, q * d]"""
    output_bias: torch.Tensor | None
    mlp_norm: torch.Tensor
    """[h]"""
    gate_up: Projection
    """h to 2 * intermediate"""
    down: torch.Tensor
    """[h, intermediate]"""


def find_unsupported_feature(module: Any) -> str | None:
    """Name a feature of a Qwen3-VL that `TextForward` does not support, or return None.

    Reads the configuration and the types of layers, but no weights.
    """
    text = module.model.language_model
    config = text.config
    if config.hidden_act != "silu":
        return f"the activation {config.hidden_act}"
    if text.rotary_emb.rope_type not in _ROPE_TYPES:
        return f"rotary embeddings of type {text.rotary_emb.rope_type}"
    is_sliding = getattr(config, "use_sliding_window", True)
    if is_sliding and getattr(config, "sliding_window", None):
        return "attention in a sliding window"
    for kind in getattr(config, "layer_types", None) or ():
        if kind != "full_attention":
            return f"layers of type {kind}"
    for layer in text.layers:
        for name in _PROJECTIONS:
            if type(projection := layer.get_submodule(name)) is not nn.Linear:
                return f"projections of type {type(projection).__name__}"
    return None


class TextForward:
    """Text model and head, computed with the weights of `module`.

    `module` is a Qwen3-VL for generation. Its projections are packed layer by layer,
    see `packed_weights`, unless they take more than `max_host_bytes` on a processor;
    the module stays usable. Raises ModelLoadError if it has an unsupported feature.

    `is_fused`, the default on an accelerator, uses the fewest kernels and rounds less
    often than transformers. Otherwise every result is rounded where transformers rounds
    it, so both agree in bfloat16; on a processor this is as fast.
    """

    def __init__(
        self,
        module: Any,
        *,
        is_fused: bool | None = None,
        max_host_bytes: int = MAX_HOST_BYTES,
    ) -> None:
        if feature := find_unsupported_feature(module):
            raise ModelLoadError(
                f"the native engine does not compute {feature}: set engine to generate"
            )
        text = module.model.language_model
        config = text.config
        self._embed_tokens = text.embed_tokens
        self._head = module.lm_head
        self._norm_weight = text.norm.weight.detach()
        self._eps: float = config.rms_norm_eps
        self._head_dim: int = text.layers[0].self_attn.head_dim
        self._num_query_heads: int = config.num_attention_heads
        self._num_key_heads: int = config.num_key_value_heads
        self._scaling: float = text.layers[0].self_attn.scaling
        device = text.norm.weight.device
        self._is_fused = device.type != "cpu" if is_fused is None else is_fused
        pack_text_model(text, max_host_bytes)
        self._layers = [self._read_layer(layer) for layer in text.layers]
        self._rotary_scaling: float = text.rotary_emb.attention_scaling
        self._axes, self._frequencies = _compute_rotary_constants(
            text.rotary_emb, device
        )

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed [T] tokens as [T, hidden]."""
        embedded: torch.Tensor = self._embed_tokens(tokens)
        return embedded

    def compute_states(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        step: Step,
        deepstack: Deepstack | None = None,
        *,
        num_last: int | None = None,
    ) -> torch.Tensor:
        """Compute the hidden states before the final norm, and fill the KV cache.

        Takes [T, hidden] embeddings, which are overwritten, and returns [T, hidden], or
        the last `num_last` rows. Positions are [3, T] int64, or [T] if time, height and
        width are equal. The host does not wait for the device unless the step's
        attention does.
        """
        states = embeddings
        rotation = self._compute_rotation(positions)
        num_deepstack = 0 if deepstack is None else len(deepstack.layers)
        last = len(self._layers) - 1
        for index, layer in enumerate(self._layers):
            # The last layer needs only keys and values of the other rows.
            num_kept = num_last if index == last and num_deepstack <= last else None
            attended = self._attend(layer, index, states, rotation, step, num_kept)
            if num_kept is not None:
                states = _last_rows(states, num_kept)
            if len(states):
                self._add_product(states, attended, layer.output, layer.output_bias)
                gate, up = layer.gate_up(self._norm(states, layer.mlp_norm)).chunk(
                    2, dim=-1
                )
                self._add_product(states, silu(gate).mul_(up), layer.down, None)
            if deepstack is not None and index < num_deepstack:
                deepstack.add_to(states, index)
        return states if num_last is None else _last_rows(states, num_last)

    def compute_logits(self, states: torch.Tensor) -> torch.Tensor:
        """Compute [n, vocabulary] logits from [n, hidden] rows of `states`."""
        logits: torch.Tensor = self._head(self._norm(states, self._norm_weight))
        return logits

    def _attend(
        self,
        layer: _Layer,
        index: int,
        states: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
        step: Step,
        num_last: int | None,
    ) -> torch.Tensor:
        """Write keys and values to the cache and attend.

        Returns [T, query heads * d], or the last `num_last` rows of it.
        """
        queries, keys = self._num_query_heads, self._num_key_heads
        heads = layer.qkv(self._norm(states, layer.input_norm)).view(
            len(states), queries + 2 * keys, self._head_dim
        )
        # Values are normed too, and not used: norming a slice would copy it first.
        normed = rms_norm(heads, heads.shape[-1:], None, self._eps)
        unrotated = normed.narrow(1, 0, queries + keys) * layer.qk_norm
        self._rotate(unrotated, *rotation, into=heads.narrow(1, 0, queries + keys))
        query = heads.narrow(1, 0, queries)
        keys_and_values = heads.narrow(1, queries, 2 * keys)
        step.cache.layers[index].index_copy_(0, step.cache_positions, keys_and_values)
        if num_last == 0:
            return query.narrow(0, 0, 0).flatten(1)
        attended = attend(
            query,
            step.cache.keys[index],
            step.cache.values[index],
            step,
            self._scaling,
        ).flatten(1)
        return attended if num_last is None else _last_rows(attended, num_last)

    def _compute_rotation(
        self, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return [T, 1, d] cosines and signed sines of [3, T] or [T] positions."""
        if positions.dim() == 2:
            # Each frequency belongs to one axis: time, height or width.
            angles = positions.index_select(0, self._axes).t() * self._frequencies
        else:
            angles = positions.unsqueeze(1) * self._frequencies
        cosines, sines = angles.cos(), angles.sin()
        if self._rotary_scaling != 1.0:
            cosines.mul_(self._rotary_scaling)
            sines.mul_(self._rotary_scaling)
        dtype = self._norm_weight.dtype
        return cosines.to(dtype).unsqueeze(1), sines.to(dtype).unsqueeze(1)

    def _rotate(
        self,
        heads: torch.Tensor,
        cosines: torch.Tensor,
        sines: torch.Tensor,
        into: torch.Tensor,
    ) -> None:
        """Rotate [T, n, d] heads, and write them `into` a tensor of that shape."""
        halves_swapped = heads.roll(self._head_dim // 2, dims=-1)
        torch.mul(heads, cosines, out=into)
        if self._is_fused:
            into.addcmul_(halves_swapped, sines)
        else:
            into.add_(halves_swapped.mul_(sines))

    def _norm(self, states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if self._is_fused:
            return rms_norm(states, weight.shape, weight, self._eps)
        return rms_norm(states, weight.shape, None, self._eps).mul_(weight)

    def _add_product(
        self,
        states: torch.Tensor,
        factor: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> None:
        """Add `factor @ weight.T + bias` to the states, in place."""
        if self._is_fused and bias is None:
            states.addmm_(factor, weight.t())
        else:
            states.add_(linear(factor, weight, bias))

    def _read_layer(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        query_norm = attention.q_norm.weight.detach()
        key_norm = attention.k_norm.weight.detach()
        return _Layer(
            input_norm=layer.input_layernorm.weight.detach(),
            qkv=Projection([attention.q_proj, attention.k_proj, attention.v_proj]),
            qk_norm=torch.cat(
                [
                    query_norm.expand(self._num_query_heads, -1),
                    key_norm.expand(self._num_key_heads, -1),
                ]
            ),
            output=attention.o_proj.weight.detach(),
            output_bias=detach_bias(attention.o_proj.bias),
            mlp_norm=layer.post_attention_layernorm.weight.detach(),
            gate_up=Projection([mlp.gate_proj, mlp.up_proj]),
            down=mlp.down_proj.weight.detach(),
        )


def _last_rows(rows: torch.Tensor, count: int) -> torch.Tensor:
    return rows.narrow(0, len(rows) - count, count)


def _compute_rotary_constants(
    rotary: Any, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the axis and the signed frequency of each dimension, [d] each.

    transformers interleaves the axes: of three consecutive frequencies the second
    belongs to the height and the third to the width, up to the counts in
    `mrope_section`; all others belong to time. Frequencies of the first half are
    negative, which gives its sines the sign of a rotation and does not change cosines.
    """
    frequencies = rotary.inv_freq.to(device=device, dtype=torch.float32)
    _, height, width = rotary.mrope_section
    axes = [0] * len(frequencies)
    for axis, count in ((1, height), (2, width)):
        for index in range(axis, min(3 * count, len(axes)), 3):
            axes[index] = axis
    return (
        torch.tensor(axes * 2, device=device),
        torch.cat([-frequencies, frequencies]),
    )
