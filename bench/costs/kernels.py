"""Estimate of the kernels, bytes and FLOPs of an operator on a CUDA device.

The rules follow torch's schemas and sources, so that a new operator needs no entry
here. Nothing is measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

__all__ = [
    "UNDIVIDED",
    "Operator",
    "OperatorTally",
    "estimate_operator",
    "find_tensors",
    "find_written_inputs",
    "is_random",
]

aten = torch.ops.aten

UNDIVIDED = frozenset(
    {
        aten.scaled_dot_product_attention.default,
        aten._fused_rms_norm.default,
    }
)
"""Composite operators that are one kernel on a CUDA device."""
_ALLOCATIONS = frozenset(
    {
        aten.empty,
        aten.empty_like,
        aten.empty_strided,
        aten.new_empty,
        aten.new_empty_strided,
    }
)
_OVERWRITING = frozenset({aten.copy_, aten.fill_, aten.zero_, aten.index_copy_})
"""Operators in place that do not read their target."""
_GATHERING = frozenset(
    {aten.embedding, aten.index, aten.index_select, aten.gather, aten._unsafe_index}
)
"""Operators that read as many values of their first tensor as they write."""
_SCATTERING = frozenset(
    {aten.index_copy_, aten.index_put_, aten.index_put, aten.scatter_, aten.index_add_}
)
"""Operators that write as many values as their last tensor has."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Dispatched operator that runs on the device."""

    name: str
    num_kernels: int
    """Number of kernels. A matrix product counts as one; cuBLAS may split it."""
    num_bytes: int
    """Bytes read and written, each tensor once."""
    flops: int


@dataclass(slots=True)
class OperatorTally:
    """Counts of operators and host synchronisations."""

    operators: list[Operator] = field(default_factory=list)
    synchronisations: Counter[str] = field(default_factory=Counter)
    """Host synchronisations by operator and line."""
    forbidden: list[str] = field(default_factory=list)
    """Operations of a recorded step that a CUDA graph cannot hold, or would freeze."""

    def __add__(self, other: OperatorTally) -> OperatorTally:
        return OperatorTally(
            self.operators + other.operators,
            self.synchronisations + other.synchronisations,
            self.forbidden + other.forbidden,
        )

    def __sub__(self, part: OperatorTally) -> OperatorTally:
        """Return the difference to a tally that is part of this one."""
        operators = Counter(self.operators) - Counter(part.operators)
        return OperatorTally(
            list(operators.elements()), self.synchronisations - part.synchronisations
        )

    @property
    def num_operators(self) -> int:
        """Operators that launch at least one kernel."""
        return len(self.operators)

    @property
    def num_kernels(self) -> int:
        return sum(operator.num_kernels for operator in self.operators)

    @property
    def num_bytes(self) -> int:
        return sum(operator.num_bytes for operator in self.operators)

    @property
    def flops(self) -> int:
        return sum(operator.flops for operator in self.operators)

    @property
    def num_synchronisations(self) -> int:
        return self.synchronisations.total()

    def by_name(self) -> Counter[str]:
        return Counter(operator.name for operator in self.operators)


def estimate_operator(
    func: Any, args: Any, kwargs: dict[str, Any], out: Any, used: int
) -> Operator | None:
    """Return the operator's work on the device; None for views and allocations.

    `used` is the number of cache positions that the attention of each page reads. The
    real number is a value on the device, which fake tensors do not have.
    """
    packet = func._overloadpacket
    outputs = list(_output_tensors(func, args, kwargs, out))
    if packet in _ALLOCATIONS or not any(t.numel() for t in outputs):
        return None
    name = str(packet).removeprefix("aten.")
    if packet is aten._flash_attention_forward:
        return _estimate_cached_attention(name, args, out[0], used)
    read = [t for t in find_tensors((args, kwargs)) if t.device.type == "cuda"]
    if packet is aten.scaled_dot_product_attention:
        # Scores stay on the chip: only the output is written to memory.
        flops = 4 * math.prod(args[0].shape) * args[1].shape[-2]
        return Operator(name, 1, _stored_bytes(*read, out), flops)
    # An operator in place has the FLOPs of the one that returns a new tensor.
    formula = flop_registry.get(getattr(aten, name.rstrip("_"), packet))
    flops = int(formula(*args, **kwargs, out_val=out)) if formula else 0
    return Operator(name, 1, _bytes_moved(packet, read, outputs), flops)


def is_random(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Return True if the operator draws random numbers; dropout of 0 does not."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    for index, argument in enumerate(func._schema.arguments):
        if argument.name == "dropout_p":
            given = args[index] if index < len(args) else kwargs.get(argument.name, 0.0)
            return bool(given)
    return True


def find_tensors(tree: Any) -> Iterator[torch.Tensor]:
    """Return all tensors in nested arguments."""
    return (leaf for leaf in tree_iter(tree) if isinstance(leaf, torch.Tensor))


def _output_tensors(
    func: Any, args: Any, kwargs: dict[str, Any], out: Any
) -> Iterator[torch.Tensor]:
    """Yield outputs with memory of their own, and inputs that are written."""
    given = {t.untyped_storage()._cdata for t in find_tensors((args, kwargs))}
    for tensor in find_tensors(out):
        if tensor.untyped_storage()._cdata not in given:
            yield tensor
    if torch.Tag.inplace_view not in func.tags:
        yield from find_written_inputs(func, args, kwargs)


def find_written_inputs(
    func: Any, args: Any, kwargs: dict[str, Any]
) -> Iterator[torch.Tensor]:
    """Yield the arguments that are written, according to the schema."""
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            yield from find_tensors(value)


def _bytes_moved(
    packet: Any, read: list[torch.Tensor], outputs: list[torch.Tensor]
) -> int:
    if packet in _GATHERING:
        return _stored_bytes(*read[1:]) + 2 * _stored_bytes(*outputs)
    if packet in _SCATTERING:
        return _stored_bytes(*read[1:]) + _stored_bytes(read[-1])
    if packet in _OVERWRITING:
        read = read[1:]
    return _stored_bytes(*read) + _stored_bytes(*outputs)


def _stored_bytes(*tensors: torch.Tensor) -> int:
    """Return the bytes of stored values; values repeated by `expand` count once."""
    total = 0
    for tensor in tensors:
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        num_stored = math.prod(size for size, stride in sizes if stride or size == 0)
        total += num_stored * tensor.dtype.itemsize
    return total


def _estimate_cached_attention(
    name: str, args: Any, out: torch.Tensor, used: int
) -> Operator:
    """Return the work of FlashAttention over cache segments, after flash_api.cpp.

    Pages of one query each, whose heads share keys, take the split-key path: query,
    output and saved query are copied to swap heads and queries, then one kernel
    computes the parts and one combines them. The last one is counted although it is
    omitted if the device is full without a split, which depends on the device.
    """
    query, keys, _, query_starts, _, max_queries = args[:6]
    num_heads, head_size = query.shape[1:]
    num_rows = query_starts.shape[0] - 1
    num_queries = query.shape[0] // num_rows
    is_grouped = num_heads > keys.shape[1]
    is_split = max_queries == 1 and is_grouped
    seen = num_queries * used - num_queries * (num_queries - 1) // 2
    cached = 2 * num_rows * used * keys.shape[1] * head_size * keys.dtype.itemsize
    num_copies = 6 if is_split else 0
    return Operator(
        name,
        5 if is_split else 1,
        cached + (2 + num_copies) * _stored_bytes(out),
        4 * num_rows * seen * num_heads * head_size,
    )
