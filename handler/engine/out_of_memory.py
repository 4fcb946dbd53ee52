"""Detection of errors that mean a shortage of GPU memory. Independent of torch."""

from __future__ import annotations

import re

__all__ = ["OUT_OF_MEMORY", "is_out_of_memory"]

OUT_OF_MEMORY = (
    r"CUDA out of memory|OutOfMemoryError|CUDA (driver )?error: out of memory"
    r"|CU(BLAS|DNN)_STATUS_ALLOC_FAILED|NVML_SUCCESS == .*CUDACachingAllocator"
)
"""Pattern for "TypeName: message" of an error. torch's allocator raises
torch.OutOfMemoryError, loading a kernel torch.AcceleratorError, and a library without
memory for its workspace RuntimeError. On a MIG slice, an assertion about NVML fails in
the allocator."""
_PATTERN = re.compile(OUT_OF_MEMORY, re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if `error` means that the GPU has no memory left.

    The causes of the error (`__cause__`) are not checked.
    """
    return bool(_PATTERN.search(f"{type(error).__name__}: {error}"))
