"""Errors of torch that mean that a GPU has no memory left."""

from __future__ import annotations

import torch

__all__ = ["SHORTAGES"]

SHORTAGES = {
    "allocator": torch.OutOfMemoryError("Tried to allocate 4.00 GiB"),
    "kernel loaded late": torch.AcceleratorError(
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"
    ),
    "driver": RuntimeError("CUDA driver error: out of memory"),
    "MIG": RuntimeError(
        "NVML_SUCCESS == r INTERNAL ASSERT FAILED at "
        '"../c10/cuda/CUDACachingAllocator.cpp":1154, please report a bug to PyTorch.'
    ),
    "cuBLAS": RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
}
