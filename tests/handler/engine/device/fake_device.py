"""Fake CUDA device, which computes shapes and sizes, but no values.

Under FakeTensorMode an operation whose result depends on values raises, so code that
runs on this device reads nothing back from it. The CPU build of torch has no guard for
CUDA devices, which `Tensor.to` and `Tensor.copy_` need; both are replaced by the
operators that they call.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

_ALLOCATION_BYTES = 512
"""The caching allocator rounds sizes up to a multiple of this."""


class FakeDevice:
    """Fake CUDA device that code can run on."""

    def __init__(self) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    @contextmanager
    def running(self, *observers: TorchDispatchMode) -> Iterator[None]:
        """Fake all tensors; each observer sees every operation."""
        with _WithoutDeviceGuard(), self._mode:
            for observer in observers:
                observer.__enter__()
            try:
                yield
            finally:
                for observer in reversed(observers):
                    observer.__exit__(None, None, None)

    def empty(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        with self._mode:
            return torch.empty(shape, dtype=dtype, device="cuda")

    def move_parameters(self, module: nn.Module) -> None:
        """Replace a module's parameters, but not its buffers, by fake ones."""
        for owner in module.modules():
            for name, like in list(owner.named_parameters(recurse=False)):
                fake = self.empty(*like.shape, dtype=like.dtype)
                setattr(owner, name, nn.Parameter(fake, requires_grad=False))


class _WithoutDeviceGuard(TorchFunctionMode):
    """Mode that calls the operators of `Tensor.to` and `Tensor.copy_` directly."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.copy_:
            return torch.ops.aten.copy_.default(*args, **kwargs)
        if func is torch.Tensor.to and isinstance(args[1], torch.device):
            tensor, device = args
            return torch.ops.aten._to_copy.default(tensor, device=device, **kwargs)
        return func(*args, **kwargs)


class Operators(TorchDispatchMode):
    """Counter of operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.counts[func.name().split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


class HostWaits(TorchDispatchMode):
    """Detector of copies between host and device for which the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.blocking_copies: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        devices = {
            leaf.device.type
            for leaf in tree_iter((args, result))
            if isinstance(leaf, torch.Tensor) and leaf.dim() > 0
        }
        is_copy = func.name() in ("aten::_to_copy", "aten::copy_")
        if is_copy and len(devices) > 1 and not kwargs.get("non_blocking"):
            self.blocking_copies.append(func.name())
        return result


class PeakBytes(TorchDispatchMode):
    """Sum of the live memory that operations allocate on the device."""

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = 0
        self.peak_bytes = 0
        self._storages: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_iter(result):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "cuda":
                self._add(leaf.untyped_storage())
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._storages:
            return
        size = -(-storage.nbytes() // _ALLOCATION_BYTES) * _ALLOCATION_BYTES
        self._storages[key] = size
        self.live_bytes += size
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.live_bytes -= self._storages.pop(key)
