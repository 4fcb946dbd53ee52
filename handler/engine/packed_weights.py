"""Weights of layers that read the same input, joined so that one product does them.

Each layer's own weight becomes a view of the joined one: the model holds nothing
twice, and transformers' own modules compute the same as before.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch
from torch import nn

__all__ = ["is_packed", "pack_linears", "renew_weight"]


@torch.no_grad()
def pack_linears(
    linears: Seq[nn.Linear],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Join the rows of several linear layers, in this order.

    Return the joined weight, [sum of outputs, inputs], and the joined bias, [sum of
    outputs], or None where the layers have none. Packing again copies nothing.
    """
    weight = _join(linears, "weight")
    has_bias = any(linear.bias is not None for linear in linears)
    return weight, _join(linears, "bias") if has_bias else None


def is_packed(linears: Seq[nn.Linear]) -> bool:
    """Whether the layers' weights follow each other in memory, in this order."""
    return _are_adjacent([linear.weight for linear in linears])


@torch.no_grad()
def renew_weight(linear: nn.Linear) -> None:
    """Move a layer's weight to other memory, next to what was packed last.

    CUDA's caching allocator reuses freed memory in whole pieces. When all weights of
    a decoder layer move, they leave one piece, and the next layer fits into it.
    """
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
