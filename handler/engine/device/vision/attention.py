"""Choice of the attention kernel of the vision encoder.

All patches of an image attend to each other: 24,576 patches in the largest image. Their
scores would take 19 GB for 16 heads in bfloat16, so on CUDA only kernels that do not
store scores are allowed: FlashAttention, then the memory-efficient kernel. cuDNN's
kernel is excluded. torch prefers it on Hopper and Blackwell from cuDNN 9.15.1 on, but
compiles it again for each number of patches, which differs from page to page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.backends import cuda
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from handler.engine.out_of_memory import is_out_of_memory

__all__ = ["Attend", "VisionAttention", "disable_cudnn_attention"]

logger = logging.getLogger(__name__)

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Query, key and value [1, heads, n, head_dim] to [1, heads, n, head_dim]."""

_FUSED = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
_KERNEL_SETS: tuple[tuple[SDPBackend, ...], ...] = (
    _FUSED,
    (SDPBackend.EFFICIENT_ATTENTION,),
    (),
)
"""Sets of allowed kernels, in the order in which they are tried. An empty set allows
any kernel."""


class VisionAttention:
    """Attention of all patches of one image to each other.

    On CUDA a set of kernels that fails is not tried again: the memory-efficient kernel
    replaces FlashAttention, then torch chooses any kernel. On a processor torch always
    chooses.
    """

    def __init__(
        self, device: torch.device, attend: Attend = scaled_dot_product_attention
    ) -> None:
        self._attend = attend
        self._kernel_sets: Sequence[tuple[SDPBackend, ...]] = (
            _KERNEL_SETS if device.type == "cuda" else _KERNEL_SETS[-1:]
        )

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """Attend without a mask; all tensors are [1, heads, n, head_dim].

        Logs a warning when a set of kernels fails and the next one is tried. Raises
        torch's error when no kernel is left, and an out-of-memory error at once.
        """
        while True:
            try:
                with _allow_kernels(self._kernel_sets[0]):
                    return self._attend(query, key, value)
            except RuntimeError as error:
                if len(self._kernel_sets) == 1 or is_out_of_memory(error):
                    raise
                self._kernel_sets = self._kernel_sets[1:]
                logger.warning(
                    "vision attention falls back",
                    extra={
                        "reason": str(error),
                        "allowed": [kernel.name for kernel in self._kernel_sets[0]]
                        or "any",
                    },
                )


def _allow_kernels(kernels: Sequence[SDPBackend]) -> AbstractContextManager[None]:
    return sdpa_kernel(list(kernels)) if kernels else nullcontext()


def disable_cudnn_attention(device: str) -> None:
    """Keep torch from using cuDNN's attention in this process, on a CUDA device.

    transformers' vision encoder, which `generate` runs, does not restrict the choice of
    kernels.
    """
    if device.startswith("cuda"):
        cuda.enable_cudnn_sdp(False)
