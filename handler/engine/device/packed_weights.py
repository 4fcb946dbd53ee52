"""Packing of the weights of layers with the same input into one matrix.

One matrix product then computes all of them. Each layer's own weight becomes a view of
the packed one, so no weight is held twice, and transformers' modules compute the same
as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = [
    "MAX_HOST_BYTES",
    "Projection",
    "detach_bias",
    "pack_linears",
    "pack_text_model",
]

MAX_HOST_BYTES = 1024**3
"""Larger weights are not packed on a processor. They are mapped from the files of the
checkpoint, so the system can drop and read them again; it cannot drop packed copies."""


class Projection:
    """Linear layers with the same input, computed in one product if they are packed.

    Maps [T, inputs] to [T, sum of outputs]. `parts` has the weight and the bias of each
    product.
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        if _are_adjacent([linear.weight for linear in linears]):
            self.parts = [pack_linears(linears)]
        else:
            self.parts = [
                (linear.weight.detach(), detach_bias(linear.bias)) for linear in linears
            ]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        products = [
            functional.linear(states, weight, bias) for weight, bias in self.parts
        ]
        return products[0] if len(products) == 1 else torch.cat(products, dim=-1)


def pack_text_model(text: Any, max_host_bytes: int = MAX_HOST_BYTES) -> None:
    """Pack the projections of Qwen3-VL's text model, one decoder layer at a time.

    At most one layer's weights are held twice meanwhile. Packing is idempotent. Weights
    on a processor stay where they are if they take more than `max_host_bytes`. On
    a GPU, the other projections are copied too, and torch's unused memory is freed.
    """
    if _host_bytes(text) > max_host_bytes:
        return
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
            _copy_weight(attention.o_proj)
            _copy_weight(mlp.down_proj)
            torch.cuda.empty_cache()


@torch.no_grad()
def pack_linears(
    linears: Sequence[nn.Linear],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Concatenate the rows of several linear layers, in this order.

    The layers' parameters become views of the packed ones. Returns the packed weight,
    [sum of outputs, inputs], and the packed bias, [sum of outputs], or None if the
    layers have no bias. Packing again copies nothing.
    """
    weight = _pack_parameters(linears, "weight")
    has_bias = any(linear.bias is not None for linear in linears)
    return weight, _pack_parameters(linears, "bias") if has_bias else None


def _host_bytes(text: Any) -> int:
    """Return the bytes of the layers' projections on a processor; else 0."""
    weights = [
        weight
        for layer in text.layers
        for weight in (*layer.self_attn.parameters(), *layer.mlp.parameters())
    ]
    if weights[0].device.type != "cpu":
        return 0
    return sum(weight.numel() * weight.element_size() for weight in weights)


def detach_bias(bias: torch.Tensor | None) -> torch.Tensor | None:
    """Return the bias without its gradient; None if the layer has no bias."""
    return None if bias is None else bias.detach()


def _copy_weight(linear: nn.Linear) -> None:
    """Move a layer's weight to other memory of its device."""
    _replace_parameter(linear, "weight", linear.weight.detach().clone())


def _pack_parameters(linears: Sequence[nn.Linear], name: str) -> torch.Tensor:
    """Join a parameter of all layers in one tensor, and return the tensor.

    The layers' parameters become views of it.
    """
    parts: list[torch.Tensor]
    parts = [getattr(linear, name).detach() for linear in linears]
    if _are_adjacent(parts):
        first = parts[0]
        shape = (sum(len(part) for part in parts), *first.shape[1:])
        return first.as_strided(shape, first.stride())
    joined = torch.cat(parts)
    begin = 0
    for linear, part in zip(linears, parts, strict=True):
        _replace_parameter(linear, name, joined.narrow(0, begin, len(part)))
        begin += len(part)
    return joined


def _replace_parameter(linear: nn.Linear, name: str, tensor: torch.Tensor) -> None:
    is_trained = getattr(linear, name).requires_grad
    setattr(linear, name, nn.Parameter(tensor, requires_grad=is_trained))


def _are_adjacent(parts: Sequence[torch.Tensor]) -> bool:
    """Return True if the tensors follow each other in one storage."""
    offset = parts[0].storage_offset()
    for part in parts:
        if part.storage_offset() != offset or not part.is_contiguous():
            return False
        offset += part.numel()
    storage = parts[0].untyped_storage()
    return all(part.untyped_storage() is storage for part in parts)
