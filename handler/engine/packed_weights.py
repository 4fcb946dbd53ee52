"""Pack the weights of layers with the same input into one matrix.

One matrix product then computes all of them. Each layer's own weight becomes a view of
the packed one: no weight is held twice, and transformers' modules compute the same as
before.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Any

import torch
from torch import nn

__all__ = ["pack_linears", "pack_text_model"]


def pack_text_model(text: Any) -> None:
    """Pack the projections of Qwen3-VL's text model, one decoder layer at a time.

    At most one layer's weights are held twice meanwhile. Packing is idempotent.
    """
    for layer in text.layers:
        attention, mlp = layer.self_attn, layer.mlp
        inputs = [attention.q_proj, attention.k_proj, attention.v_proj]
        if _are_adjacent([linear.weight for linear in inputs]):
            continue
        weight, _ = pack_linears(inputs)
        pack_linears([mlp.gate_proj, mlp.up_proj])
        if weight.is_cuda:
            # CUDA's allocator reuses freed memory in whole blocks. If all large weights
            # of a layer move, they free one block that the next layer fits into.
            _move(attention.o_proj)
            _move(mlp.down_proj)
            torch.cuda.empty_cache()


@torch.no_grad()
def pack_linears(
    linears: Seq[nn.Linear],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Concatenate the rows of several linear layers, in this order.

    Return the packed weight, [sum of outputs, inputs], and the packed bias, [sum of
    outputs], or None if the layers have no bias. Packing again copies nothing.
    """
    weight = _join(linears, "weight")
    has_bias = any(linear.bias is not None for linear in linears)
    return weight, _join(linears, "bias") if has_bias else None


def _move(linear: nn.Linear) -> None:
    _set(linear, "weight", linear.weight.detach().clone())


def _join(linears: Seq[nn.Linear], name: str) -> torch.Tensor:
    parts: list[torch.Tensor]
    parts = [getattr(linear, name).detach() for linear in linears]
    if _are_adjacent(parts):
        first = parts[0]
        shape = (sum(len(part) for part in parts), *first.shape[1:])
        return first.as_strided(shape, first.stride())
    joined = torch.cat(parts)
    begin = 0
    for linear, part in zip(linears, parts, strict=True):
        _set(linear, name, joined.narrow(0, begin, len(part)))
        begin += len(part)
    return joined


def _set(linear: nn.Linear, name: str, tensor: torch.Tensor) -> None:
    is_trained = getattr(linear, name).requires_grad
    setattr(linear, name, nn.Parameter(tensor, requires_grad=is_trained))


def _are_adjacent(parts: Seq[torch.Tensor]) -> bool:
    offset = parts[0].storage_offset()
    for part in parts:
        if part.storage_offset() != offset or not part.is_contiguous():
            return False
        offset += part.numel()
    storage = parts[0].untyped_storage()
    return all(part.untyped_storage() is storage for part in parts)
