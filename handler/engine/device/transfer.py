"""Copy tensors to a device without waiting for it."""

from __future__ import annotations

import torch

__all__ = ["copy_to"]


def copy_to(device: torch.device, host: torch.Tensor) -> torch.Tensor:
    """Return a copy of a host tensor on the device; on a processor, the tensor itself.

    On CUDA the copy is made from pinned memory, so the host does not wait for queued
    work. torch keeps the pinned memory until the copy has ended.
    """
    if device.type == "cpu":
        return host
    is_cuda = device.type == "cuda"
    pinned = torch.empty(host.shape, dtype=host.dtype, pin_memory=is_cuda)
    pinned.copy_(host)
    return pinned.to(device, non_blocking=True)
