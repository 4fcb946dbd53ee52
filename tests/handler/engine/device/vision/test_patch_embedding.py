"""Replacement of the vision encoders' convolution by a linear layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    Qwen3_5VisionConfig,
    Qwen3_5VisionModel,
    Qwen3VLVisionConfig,
    Qwen3VLVisionModel,
)

from handler.engine.device.vision.patch_embedding import (
    PatchProjection,
    replace_convolutions,
)
from tests.handler.engine.device.fake_device import Operators

SIZES: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "num_position_embeddings": 64,
    "out_hidden_size": 32,
}
GRID = torch.tensor([[1, 4, 6]])


def create_visual_of_chandra_1() -> Any:
    config = Qwen3VLVisionConfig(**SIZES, deepstack_visual_indexes=[])
    return Qwen3VLVisionModel(config).eval()


def create_visual_of_chandra_2() -> Any:
    return Qwen3_5VisionModel(Qwen3_5VisionConfig(**SIZES)).eval()


@pytest.fixture(params=[create_visual_of_chandra_1, create_visual_of_chandra_2])
def visual(request) -> Any:
    torch.manual_seed(0)
    return request.param()


def create_patches(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(24, 3 * 2 * 16 * 16).mul(2).sub(1).to(dtype)


def list_convolutions(visual: Any) -> list[str]:
    operators = Operators()
    with torch.inference_mode(), operators:
        visual(create_patches(), GRID)
    return [name for name in operators.counts if "conv" in name]


def test_encoder_dispatches_no_convolution(visual):
    before = list_convolutions(visual)

    num_replaced = replace_convolutions(visual)

    assert num_replaced == 1
    assert before == ["aten::conv3d"]
    assert list_convolutions(visual) == []


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-8)]
)
def test_linear_layer_gives_the_same_sums(visual, dtype, tolerance):
    visual.to(dtype)
    with torch.inference_mode():
        expected = visual.patch_embed(create_patches(dtype)).float()

        replace_convolutions(visual)

        actual = visual.patch_embed(create_patches(dtype)).float()
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


def test_weights_keep_their_names_and_memory(visual):
    before = {name: weight.data_ptr() for name, weight in visual.state_dict().items()}

    replace_convolutions(visual)

    after = {name: weight.data_ptr() for name, weight in visual.state_dict().items()}
    assert after == before
    weight = visual.patch_embed.proj.weight
    assert weight.flatten(1).data_ptr() == weight.data_ptr()


def test_replacement_is_idempotent(visual):
    replace_convolutions(visual)

    assert replace_convolutions(visual) == 0


@pytest.mark.parametrize(
    "options",
    [{"stride": 1}, {"stride": 2, "padding": 1}, {"stride": 2, "dilation": 2}],
)
def test_other_convolutions_are_not_replaced(options):
    module = nn.Module()
    module.proj = nn.Conv3d(3, 8, kernel_size=2, **options)

    assert replace_convolutions(module) == 0
    assert not isinstance(module.proj, PatchProjection)
