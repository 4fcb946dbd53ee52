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
ALL_KERNELS = {"flash", "efficient", "math", "cudnn"}


def list_allowed_kernels() -> set[str]:
    """Return the names of the attention kernels that torch may use now."""
    is_allowed = {
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
    }
    return {name for name, is_on in is_allowed.items() if is_on}


class RecordingAttention:
    """Attention that records the allowed kernels, and fails in the first calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.allowed_sets: list[set[str]] = []

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        self.allowed_sets.append(list_allowed_kernels())
        if self.errors:
            raise self.errors.pop(0)
        return query


def attend(attention: VisionAttention) -> torch.Tensor:
    return attention(STATES, STATES, STATES)


def test_only_kernels_that_store_no_scores_run_on_cuda():
    kernels = RecordingAttention()

    attend(VisionAttention(CUDA, kernels))

    assert kernels.allowed_sets == [{"flash", "efficient"}]
    assert list_allowed_kernels() == ALL_KERNELS


def test_torch_chooses_the_kernel_on_a_processor():
    kernels = RecordingAttention()

    attend(VisionAttention(torch.device("cpu"), kernels))

    assert kernels.allowed_sets == [ALL_KERNELS]


def test_failed_kernel_is_not_tried_again(caplog):
    kernels = RecordingAttention(RuntimeError("no kernel image is available"))
    attention = VisionAttention(CUDA, kernels)

    with caplog.at_level(logging.WARNING):
        attend(attention)
        attend(attention)

    assert kernels.allowed_sets == [
        {"flash", "efficient"},
        {"efficient"},
        {"efficient"},
    ]
    assert [record.reason for record in caplog.records] == [
        "no kernel image is available"
    ]


def test_torch_chooses_if_no_fused_kernel_works():
    kernels = RecordingAttention(RuntimeError("no kernel"), RuntimeError("no kernel"))

    attend(VisionAttention(CUDA, kernels))

    assert kernels.allowed_sets == [{"flash", "efficient"}, {"efficient"}, ALL_KERNELS]


def test_error_is_raised_if_no_kernel_works():
    kernels = RecordingAttention(
        *[RuntimeError(f"no kernel {number}") for number in range(3)]
    )

    with pytest.raises(RuntimeError, match="no kernel 2"):
        attend(VisionAttention(CUDA, kernels))


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_out_of_memory_does_not_change_the_kernel(shortage):
    kernels = RecordingAttention(SHORTAGES[shortage])
    attention = VisionAttention(CUDA, kernels)

    with pytest.raises(type(SHORTAGES[shortage])):
        attend(attention)
    attend(attention)

    assert kernels.allowed_sets == [{"flash", "efficient"}] * 2


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", ALL_KERNELS), ("cuda:1", ALL_KERNELS - {"cudnn"})]
)
def test_cudnn_attention_is_disabled_on_cuda(device, expected):
    try:
        disable_cudnn_attention(device)

        assert list_allowed_kernels() == expected
    finally:
        cuda.enable_cudnn_sdp(True)
