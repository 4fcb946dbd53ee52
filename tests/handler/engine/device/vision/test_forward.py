"""Equality of `VisionForward` with transformers, and absence of host waits."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from transformers import Qwen3VLVisionConfig, Qwen3VLVisionModel

from bench.teacher_forcing.geometry import CHANDRA, empty_module
from bench.teacher_forcing.tokenizer import QwenTokenizer
from handler.engine.device.encoder import Encoded, Encoder, TorchPrompt
from handler.engine.device.model import Model
from handler.engine.device.vision.forward import Features, VisionForward
from handler.engine.device.vision.patch_embedding import replace_convolutions
from handler.engine.device.vision.positions import (
    interpolate_positions,
    patch_coordinates,
)
from handler.engine.request import EngineRequest
from handler.schema import Page
from tests.handler.engine.device.fake_device import (
    FakeDevice,
    HostWaits,
    Operators,
    PeakBytes,
)

GRIDS = [(2, 2), (2, 14), (26, 6), (10, 18), (34, 30)]
"""Rows and columns: the smallest, not square, and more than the position table has."""
LARGEST = (128, 192)
"""3072 x 2048 pixels."""
MAX_BYTES = 800 * 2**20
"""Limit without the weights. Scores of all patches would take 18 GiB."""


def create_visual(*, depth: int, width: int, heads: int, deepstack: list[int]) -> Any:
    config = Qwen3VLVisionConfig(
        depth=depth,
        hidden_size=width,
        intermediate_size=3 * width,
        num_heads=heads,
        num_position_embeddings=64,
        deepstack_visual_indexes=deepstack,
        out_hidden_size=48,
        patch_size=4,
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    visual = Qwen3VLVisionModel(config).eval()
    for parameter in visual.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return visual


@pytest.fixture(
    scope="module",
    params=[
        {"depth": 3, "width": 48, "heads": 2, "deepstack": [0, 2]},
        {"depth": 2, "width": 80, "heads": 5, "deepstack": []},
    ],
    ids=["deepstack", "plain"],
)
def visual(request) -> Any:
    return create_visual(**request.param)


def create_patches(visual: Any, rows: int, columns: int) -> torch.Tensor:
    torch.manual_seed(rows * columns)
    num_values = visual.patch_embed.proj.weight[0].numel()
    return torch.randn(rows * columns, num_values)


def encode_patches(
    forward: VisionForward, patches: Any, grid: Any, count: int
) -> Features:
    """Encode an image, with at most `count` blocks in each call."""
    encoding = forward.begin(patches, (1, *grid))
    while not forward.advance(encoding, count):
        pass
    return forward.finish(encoding)


def largest_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("grid", GRIDS)
def test_features_equal_those_of_transformers(visual, grid):
    patches = create_patches(visual, *grid)
    with torch.inference_mode():
        theirs = visual(patches, torch.tensor([[1, *grid]]), return_dict=True)

    ours = encode_patches(VisionForward(visual), patches, grid, count=99)

    assert largest_difference(ours.embeddings, theirs.pooler_output) < 1e-5
    assert len(ours.deepstack) == len(theirs.deepstack_features)
    for own, other in zip(ours.deepstack, theirs.deepstack_features, strict=True):
        assert largest_difference(own, other) < 1e-5


def test_blocks_computed_one_by_one_give_the_same_features(visual):
    forward = VisionForward(visual)
    patches = create_patches(visual, 6, 10)

    slices = encode_patches(forward, patches, (6, 10), count=1)

    whole = encode_patches(forward, patches, (6, 10), count=99)
    assert torch.equal(slices.embeddings, whole.embeddings)
    assert all(map(torch.equal, slices.deepstack, whole.deepstack))


def test_image_of_several_frames_is_rejected(visual):
    with pytest.raises(ValueError, match="one frame, not 2"):
        VisionForward(visual).begin(create_patches(visual, 4, 4), (2, 2, 4))


@pytest.mark.parametrize(("num_rows", "num_columns"), [*GRIDS, LARGEST])
def test_positions_equal_those_of_transformers(num_rows, num_columns):
    vision_utils = pytest.importorskip("transformers.vision_utils")
    sizes = torch.tensor([[1, num_rows, num_columns]])
    indices, weights = vision_utils.get_vision_interpolation_indices_and_weights(
        sizes, 48, "bilinear", align_corners=True, spatial_merge_size=2
    )

    rows, columns = patch_coordinates(num_rows, num_columns, 2)
    ours = interpolate_positions(rows, columns, num_rows, num_columns, 48)

    positions = vision_utils.get_vision_position_ids(sizes, 2)
    assert torch.equal(torch.stack([rows, columns], dim=1), positions)
    assert torch.equal(ours.indices.T, indices)
    assert torch.equal(ours.weights.T, weights)


@pytest.fixture(scope="module")
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture(scope="module")
def chandra(device) -> Model:
    """Model of Chandra 1's sizes on a fake CUDA device."""
    module = empty_module(CHANDRA)
    replace_convolutions(module)
    device.move_parameters(module)
    return Model(module, QwenTokenizer(), CHANDRA.profile.stop_tokens)


@dataclass(frozen=True)
class EncodingRun:
    """Encoding of the largest page on the fake device."""

    prompt: TorchPrompt
    encoded: Encoded
    waits: HostWaits
    operators: Operators
    peak: PeakBytes


@pytest.fixture(scope="module")
def largest_page(chandra, device) -> EncodingRun:
    rows, columns = LARGEST
    width, height = 16 * columns, 16 * rows
    page = Page(1, width, height, width, height, bytes(3 * width * height))
    on_host = copy(chandra)
    on_host.device = torch.device("cpu")
    prompt = Encoder(on_host).tokenise(EngineRequest("a", "a", page, "Read.", 10))
    input_ids = device.empty(prompt.num_tokens, dtype=torch.int64)
    prompt = replace(prompt, input_ids=input_ids)
    encoder = Encoder(chandra)
    waits, operators, peak = HostWaits(), Operators(), PeakBytes()
    with device.running(peak, operators, waits):
        encoded = encoder.finish_encoding(prompt)
    return EncodingRun(prompt, encoded, waits, operators, peak)


def test_encoding_a_page_reads_nothing_from_the_device(largest_page):
    assert largest_page.waits.blocking_copies == []
    assert largest_page.encoded.embeddings.shape == (
        largest_page.prompt.num_tokens,
        4096,
    )
    deepstack = [layer.shape for layer in largest_page.encoded.deepstack]
    assert deepstack == [(6144, 4096)] * 3


def test_encoding_a_page_dispatches_no_convolution(largest_page):
    counts = largest_page.operators.counts

    assert not [name for name in counts if "conv" in name]
    assert counts["aten::scaled_dot_product_attention"] == 27


def test_largest_page_is_encoded_in_bounded_memory(largest_page):
    assert largest_page.peak.peak_bytes < MAX_BYTES


def test_read_of_a_device_value_is_detected(device):
    lengths = device.empty(3, dtype=torch.int64)

    with device.running(), pytest.raises(DataDependentOutputException):
        lengths.sum().item()
    with device.running(), pytest.raises(DynamicOutputShapeException):
        torch.repeat_interleave(lengths, lengths)


def test_blocking_copy_is_detected(device):
    waits = HostWaits()

    with device.running(waits):
        torch.zeros(3).to(torch.device("cuda"))

    assert waits.blocking_copies == ["aten::_to_copy"]


def attend_by_flash(query: Any, key: Any, value: Any) -> Any:
    attend = torch.ops.aten._scaled_dot_product_flash_attention
    return attend(query, key, value)[0]


def attend_memory_efficiently(query: Any, key: Any, value: Any) -> Any:
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    return attend(query, key, value, None, False)[0]


@pytest.mark.parametrize("attend", [attend_by_flash, attend_memory_efficiently])
def test_attention_to_all_patches_fits_into_bounded_memory(chandra, device, attend):
    forward = VisionForward(chandra.module.model.visual, attend)
    patches = device.empty(LARGEST[0] * LARGEST[1], 1536, dtype=torch.bfloat16)
    peak = PeakBytes()

    with device.running(peak):
        features = encode_patches(forward, patches, LARGEST, count=4)

    assert features.embeddings.shape == (6144, 4096)
    assert peak.peak_bytes < MAX_BYTES


def test_slice_is_as_much_work_as_a_prefill_chunk(chandra):
    encoder = Encoder(chandra, slice_tokens=1024)

    blocks = [encoder.blocks_in_slice(n) for n in (4096, 14_000, 24_576, 200_000)]

    assert blocks == [70, 10, 4, 1]
