"""Memory plan, compared with the tensors of the real code with Chandra 1's sizes.

The code runs over fake tensors, without computation or allocation. Each term of the
plan must be at least the live bytes at the peak, and at most half more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from bench.costs.live_bytes import LiveBytes
from bench.teacher_forcing.geometry import CHANDRA, empty_module
from bench.teacher_forcing.tokenizer import QwenTokenizer
from handler.engine.batching.memory_plan import (
    GRAPH_NODES_BYTES,
    ModelSizes,
    read_model_sizes,
)
from handler.engine.batching.model_runner import Chunk
from handler.engine.device.attention import KVCache
from handler.engine.device.encoder import Encoder
from handler.engine.device.graphs import Shape
from handler.engine.device.model import Model
from handler.engine.device.packed_weights import pack_text_model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.request import EngineRequest
from handler.schema import Page

NUM_POSITIONS = 20_000
CPU = torch.device("cpu")
MAX_RATIO = 1.5
"""Upper bound of a term of the plan, as a multiple of the live bytes."""


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeTensorMode]:
    # Use the CPU device, because torch without CUDA cannot slice tensors of a GPU.
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


@pytest.fixture(scope="module")
def model(fake) -> Model:
    module = empty_module(CHANDRA).eval()
    for owner in module.modules():
        for name, like in list(owner.named_parameters(recurse=False)):
            weight = torch.empty(like.shape, dtype=torch.bfloat16)
            setattr(owner, name, nn.Parameter(weight, requires_grad=False))
    # Pack the weights as on a GPU; such large weights are not packed on a CPU.
    pack_text_model(module.model.language_model, max_host_bytes=2**60)
    return Model(module, QwenTokenizer(), CHANDRA.profile.stop_tokens)


@pytest.fixture(scope="module")
def sizes(model) -> ModelSizes:
    weights_bytes = sum(weight.nbytes for weight in model.module.parameters())
    return read_model_sizes(CHANDRA.config(), weights_bytes)


@pytest.fixture
def new_runner(model) -> Callable[..., TorchRunner]:
    """Return a function that makes runners with the CUDA operator's shape function."""
    return lambda **given: TorchRunner(model, NUM_POSITIONS, use_operator=True, **given)


def check_bounds(planned: int, peak_bytes: int) -> None:
    assert peak_bytes <= planned <= MAX_RATIO * peak_bytes, (
        f"{planned:,} planned, {peak_bytes:,} live"
    )


def test_weights_have_the_size_of_chandra(sizes):
    assert sizes.weights_bytes == pytest.approx(17.53e9, rel=0.001)


def test_the_cache_takes_the_bytes_of_its_tokens(sizes, fake, model):
    cache = KVCache(model.module.model.language_model.config, 1000, torch.bfloat16, CPU)

    assert sizes.bytes_per_token == 144 * 1024
    held = sum(tensor.nbytes for tensor in (*cache.keys, *cache.values))
    assert held == 1000 * sizes.bytes_per_token


@pytest.mark.parametrize("shape", [Shape(16, 10), Shape(64, 1)], ids=str)
def test_a_recorded_step_is_bounded(sizes, new_runner, shape):
    peak_bytes = 0

    def record(compute: Callable[[], Any]) -> Any:
        nonlocal peak_bytes
        with LiveBytes() as tally:
            outputs = compute()
        peak_bytes = tally.peak_bytes
        return outputs, lambda: None

    new_runner(graph_shapes=[shape], record=record)

    check_bounds(sizes.graph_bytes([shape]) - GRAPH_NODES_BYTES, peak_bytes)


def test_each_recorded_step_keeps_its_outputs(sizes, new_runner):
    kept_bytes: list[int] = []
    outputs: list[Any] = []

    def record(compute: Callable[[], Any]) -> Any:
        with LiveBytes() as tally:
            outputs.append(compute())
            kept_bytes.append(tally.live_bytes)
        return outputs[-1], lambda: None

    shape = Shape(16, 4)
    new_runner(graph_shapes=[shape], record=record)

    once, twice = sizes.graph_bytes([shape]), sizes.graph_bytes([shape, shape])
    check_bounds(twice - once - GRAPH_NODES_BYTES, kept_bytes[0])


def test_a_chunk_behind_a_long_cache_is_bounded(sizes, new_runner):
    # The chunk is part of an answer that is computed again, so it has no image.
    runner = new_runner()
    prompt = SimpleNamespace(
        request=SimpleNamespace(page=SimpleNamespace(pixel_width=32, pixel_height=32)),
        num_tokens=10,
        rope_delta=0,
        encoded=None,
        release_image=lambda: None,
    )
    chunk: Any = Chunk(prompt, [1] * 9999, 8000, 1024, 0)

    with LiveBytes() as tally:
        runner.prefill(chunk)

    check_bounds(sizes.text_bytes(1024), tally.peak_bytes)


def test_encoding_the_largest_image_is_bounded(sizes, model, fake):
    peak_bytes = _encoder_peak(model, 3072, 2048)

    check_bounds(sizes.encoder_bytes(3072 * 2048), peak_bytes)


def _encoder_peak(model: Model, width: int, height: int) -> int:
    """Return the peak bytes of encoding an image with FlashAttention."""
    encoder = Encoder(model)
    page = Page(1, width, height, width, height, bytes(3 * width * height))
    request = EngineRequest("a", "a", page, "read it", 10)
    with unset_fake_temporarily():
        prompt = encoder.tokenise(request)
    with LiveBytes() as tally:
        while not encoder.encode(prompt):
            pass
    return int(tally.peak_bytes)
