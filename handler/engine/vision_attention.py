"""Choose the attention kernel of the vision encoder.

All patches of an image attend to each other, 24,576 of them in the largest. Scores of
that size would take 19 GB for 16 heads in bfloat16, so on CUDA only kernels that never
write scores are allowed: FlashAttention, and the memory-efficient one behind it. The
kernel of cuDNN is not among them. torch prefers it on Hopper and Blackwell from cuDNN
9.15.1 on, and it is compiled again for each number of patches, which differs from page
to page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence as Seq
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.backends import cuda
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["Attend", "VisionAttention", "disable_cudnn_attention"]

logger = logging.getLogger(__name__)

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Query, key and value [1, heads, n, head_dim] to [1, heads, n, head_dim]."""

_FUSED = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
_CHOICES: tuple[tuple[SDPBackend, ...], ...] = (
    _FUSED,
    (SDPBackend.EFFICIENT_ATTENTION,),
    (),
)
"""Allowed kernels, in the order in which they are tried; none named means any."""


class VisionAttention:
    """Attention of all patches of one image to each other.

    On CUDA a set of kernels that fails is not tried again: FlashAttention gives way to
    the memory-efficient kernel, and that to whatever torch chooses. Elsewhere torch
    chooses from the beginning.
    """

    def __init__(
        self, device: torch.device, attend: Attend = scaled_dot_product_attention
    ) -> None:
        self._attend = attend
        self._choices: Seq[tuple[SDPBackend, ...]] = (
            _CHOICES if device.type == "cuda" else _CHOICES[-1:]
        )

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """Attend without a mask: [1, heads, n, head_dim] of each to the same.

        Raises what torch raises when no kernel is left, and torch.OutOfMemoryError at
        once.
        """
        while True:
            try:
                with _allowed(self._choices[0]):
                    return self._attend(query, key, value)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if len(self._choices) == 1:
                    raise
                self._choices = self._choices[1:]
                logger.warning(
                    "vision attention falls back",
                    extra={
                        "reason": str(error),
                        "allowed": [kernel.name for kernel in self._choices[0]]
                        or "any",
                    },
                )


def _allowed(kernels: Seq[SDPBackend]) -> AbstractContextManager[None]:
    return sdpa_kernel(list(kernels)) if kernels else nullcontext()


def disable_cudnn_attention(device: str) -> None:
    """Keep torch from using cuDNN's attention in this process, on a CUDA device.

    transformers' own vision encoder, which `generate` runs, calls torch without a
    choice of kernels.
    """
    if device.startswith("cuda"):
        cuda.enable_cudnn_sdp(False)
