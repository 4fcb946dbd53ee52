"""Attention kernels that the vision encoder allows, and its fallbacks."""

from __future__ import annotations

import logging

import pytest
import torch
from torch.backends import cuda

from handler.engine.device.vision.attention import (
    VisionAttention,
    disable_cudnn_attention,
)
from tests.handler.engine.device.shortages import SHORTAGES

CUDA = torch.device("cuda")
STATES = torch.zeros(1, 2, 3, 8)
ALL = {"flash", "efficient", "math", "cudnn"}


def allowed() -> set[str]:
    is_allowed = {
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
    }
    return {name for name, is_on in is_allowed.items() if is_on}


class Kernels:
    """Attention that records the allowed kernels, and fails in the first calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.allowed: list[set[str]] = []

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        self.allowed.append(allowed())
        if self.errors:
            raise self.errors.pop(0)
        return query


def attend(attention: VisionAttention) -> torch.Tensor:
    return attention(STATES, STATES, STATES)


def test_only_kernels_that_store_no_scores_run_on_cuda():
    kernels = Kernels()

    attend(VisionAttention(CUDA, kernels))

    assert kernels.allowed == [{"flash", "efficient"}]
    assert allowed() == ALL


def test_torch_chooses_the_kernel_on_a_processor():
    kernels = Kernels()

    attend(VisionAttention(torch.device("cpu"), kernels))

    assert kernels.allowed == [ALL]


def test_failed_kernel_is_not_tried_again(caplog):
    kernels = Kernels(RuntimeError("no kernel image is available"))
    attention = VisionAttention(CUDA, kernels)

    with caplog.at_level(logging.WARNING):
        attend(attention)
        attend(attention)

    assert kernels.allowed == [{"flash", "efficient"}, {"efficient"}, {"efficient"}]
    assert [record.reason for record in caplog.records] == [
        "no kernel image is available"
    ]


def test_torch_chooses_if_no_fused_kernel_works():
    kernels = Kernels(RuntimeError("no kernel"), RuntimeError("no kernel"))

    attend(VisionAttention(CUDA, kernels))

    assert kernels.allowed == [{"flash", "efficient"}, {"efficient"}, ALL]


def test_error_is_raised_if_no_kernel_works():
    kernels = Kernels(*[RuntimeError(f"no kernel {number}") for number in range(3)])

    with pytest.raises(RuntimeError, match="no kernel 2"):
        attend(VisionAttention(CUDA, kernels))


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_out_of_memory_does_not_change_the_kernel(shortage):
    kernels = Kernels(SHORTAGES[shortage])
    attention = VisionAttention(CUDA, kernels)

    with pytest.raises(type(SHORTAGES[shortage])):
        attend(attention)
    attend(attention)

    assert kernels.allowed == [{"flash", "efficient"}] * 2


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", ALL), ("cuda:1", ALL - {"cudnn"})]
)
def test_cudnn_attention_is_disabled_on_cuda(device, expected):
    try:
        disable_cudnn_attention(device)

        assert allowed() == expected
    finally:
        cuda.enable_cudnn_sdp(True)
