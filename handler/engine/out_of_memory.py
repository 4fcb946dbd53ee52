"""Tell a shortage of GPU memory from other errors. Independent of torch."""

from __future__ import annotations

import re

__all__ = ["OUT_OF_MEMORY", "is_out_of_memory"]

OUT_OF_MEMORY = (
    r"CUDA out of memory|OutOfMemoryError|CUDA (driver )?error: out of memory"
    r"|CU(BLAS|DNN)_STATUS_ALLOC_FAILED|NVML_SUCCESS == .*CUDACachingAllocator"
)
"""Matches "TypeName: message". torch's allocator raises torch.OutOfMemoryError, the
loading of a kernel torch.AcceleratorError, and a library without memory for its
workspace RuntimeError. On a MIG slice the allocator fails an assertion about NVML."""
_PATTERN = re.compile(OUT_OF_MEMORY, re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that the GPU has no memory left.

    Causes of the error are not looked at.
    """
    return bool(_PATTERN.search(f"{type(error).__name__}: {error}"))
