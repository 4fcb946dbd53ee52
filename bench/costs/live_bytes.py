"""Counter of the bytes of live tensors, real or fake, while code runs.

Under torch's FakeTensorMode nothing is computed or allocated, so the peak of a step of
an 8B model is counted on any CPU within a second.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["LiveBytes"]

_BLOCK_BYTES = 512
"""Torch's CUDA allocator rounds every allocation up to a multiple of this."""

_SDPA = torch.ops.aten.scaled_dot_product_attention.default


class LiveBytes(TorchDispatchMode):
    """Counter of the bytes of storages, from their creation until they are freed.

    Storages that exist before the mode is entered are not counted. A composite
    scaled_dot_product_attention counts as FlashAttention, with its output and a float32
    logarithm per query and head, although the host may choose another kernel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = 0
        self.peak_bytes = 0
        self.peak_operator: str | None = None
        """Operator at the peak."""
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is _SDPA:
            func = _allocate_flash_attention
        input_storages = {
            tensor.untyped_storage()._cdata
            for tensor in tree_iter((args, kwargs))
            if isinstance(tensor, torch.Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage(), input_storages)
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes
            self.peak_operator = str(func)
        return result

    def _add(self, storage: Any, input_storages: set[int]) -> None:
        key = storage._cdata
        if key in input_storages or key in self._sizes:
            return
        num_bytes = -(-storage.nbytes() // _BLOCK_BYTES) * _BLOCK_BYTES
        self._sizes[key] = num_bytes
        self.live_bytes += num_bytes
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.live_bytes -= self._sizes.pop(key, 0)


def _allocate_flash_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> torch.Tensor:
    """Allocate the tensors that torch's FlashAttention allocates."""
    batch, heads, count, _ = query.shape
    logarithms = query.new_empty((batch, heads, count), dtype=torch.float32)
    output = query.new_empty((batch, count, heads, value.shape[-1])).transpose(1, 2)
    del logarithms
    return output
