"""Patch embedding of a vision encoder, computed as a matrix product.

The kernel of the convolution equals its stride, so patches do not overlap and the
convolution is one linear layer over the flattened patches. torch 2.10 with
cuDNN 9.8 to 9.14 runs a bfloat16 Conv3d as about 1,152 small kernels for each patch.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import nn
from torch.nn import functional

__all__ = ["PatchProjection", "replace_convolutions"]

_NAME = "proj"


class PatchProjection(nn.Module):
    """Linear layer that replaces a convolution over whole patches.

    It owns the parameters of the convolution under the same names and shapes, so
    neither the state dict nor the memory for weights changes.
    """

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.bias = convolution.bias

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map patches [n, ...], each as large as the kernel, to [n, width]."""
        return functional.linear(patches.flatten(1), self.weight.flatten(1), self.bias)


def replace_convolutions(module: nn.Module) -> int:
    """Replace each patch projection in the module in place; return their number.

    A patch projection is a Conv3d named `proj` whose kernel equals its stride.
    """
    owners = [
        (owner, child)
        for owner in module.modules()
        for name, child in owner.named_children()
        if name == _NAME and _covers_whole_patches(child)
    ]
    for owner, convolution in owners:
        setattr(owner, _NAME, PatchProjection(convolution))
    return len(owners)


def _covers_whole_patches(child: nn.Module) -> TypeGuard[nn.Conv3d]:
    return (
        isinstance(child, nn.Conv3d)
        and child.kernel_size == child.stride
        and child.padding == (0, 0, 0)
        and child.dilation == (1, 1, 1)
        and child.groups == 1
    )
