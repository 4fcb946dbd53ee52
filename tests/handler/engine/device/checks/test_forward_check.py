"""Comparison of the native engine with transformers, with and without faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from handler.engine.device.checks.forward_check import check_forward
from handler.engine.device.encoder import Encoded, Encoder, TorchPrompt
from handler.engine.device.model import Model, load_model
from handler.engine.device.text_forward import TextForward
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.fallbacks import Check, SelfTestError
from handler.settings import EngineSettings
from handler.weights.source import MINI, Source, fetch


@pytest.fixture(scope="module")
def model() -> Model:
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    return load_model(weights, "cpu")


class ForwardWithChangedPositions(TextForward):
    """Text model that applies `change` to the positions of the tokens."""

    def __init__(
        self, model: Model, change: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__(model.module, is_fused=True)
        self._change = change

    def compute_states(
        self, embeddings: torch.Tensor, positions: torch.Tensor, *args: Any, **kw: Any
    ) -> torch.Tensor:
        return super().compute_states(embeddings, self._change(positions), *args, **kw)


class ForwardWithRolledLogits(TextForward):
    """Text model that gives each token the logit of the token before it."""

    def compute_logits(self, states: torch.Tensor) -> torch.Tensor:
        return super().compute_logits(states).roll(1, dims=-1)


class EncoderWithChangedImage(Encoder):
    """Encoder that applies `change` to a prompt once its image is encoded."""

    def __init__(self, model: Model, change: Callable[[Encoded], Encoded]) -> None:
        super().__init__(model)
        self._change_encoded = change

    def encode(self, prompt: TorchPrompt) -> bool:
        is_complete = super().encode(prompt)
        if is_complete:
            assert prompt.encoded is not None
            prompt.encoded = self._change_encoded(prompt.encoded)
        return is_complete


def negate_positions(positions: torch.Tensor) -> torch.Tensor:
    """Rotate queries and keys in the opposite direction."""
    return -positions


def use_time_for_all_axes(positions: torch.Tensor) -> torch.Tensor:
    """Replace height and width by time, in [3, T] positions."""
    return positions[:1].expand_as(positions) if positions.dim() == 2 else positions


def swap_first_two_visual_tokens(encoded: Encoded) -> Encoded:
    first, second = encoded.visual_at[:2]
    order = torch.arange(len(encoded.embeddings))
    order[[first, second]] = torch.tensor([second, first])
    return replace(encoded, embeddings=encoded.embeddings[order])


def reverse_deepstack(encoded: Encoded) -> Encoded:
    return replace(encoded, deepstack=encoded.deepstack[::-1])


def make_visual_tokens_nan(encoded: Encoded) -> Encoded:
    rows = torch.tensor(encoded.visual_at)
    embeddings = encoded.embeddings.index_fill(0, rows, torch.nan)
    return replace(encoded, embeddings=embeddings)


@pytest.mark.parametrize(("is_fused", "bound"), [(False, 0.02), (True, 0.03)])
def test_correct_forward_pass_is_within_rounding(model, is_fused, bound):
    text_forward = TextForward(model.module, is_fused=is_fused)
    runner = TorchRunner(model, 400, text_forward=text_forward)

    assert check_forward(model, runner) < bound


@pytest.mark.parametrize("change", [negate_positions, use_time_for_all_axes])
def test_wrong_positions_are_a_mismatch_of_the_first_keys(model, change):
    text_forward = ForwardWithChangedPositions(model, change)
    runner = TorchRunner(model, 400, text_forward=text_forward)

    with pytest.raises(SelfTestError) as raised:
        check_forward(model, runner)

    assert_is_clear_mismatch(raised.value, "keys of the image, layer 0")


@pytest.mark.parametrize(
    ("change", "case"),
    [
        (swap_first_two_visual_tokens, "image features"),
        (reverse_deepstack, "image features of layer 0"),
        (make_visual_tokens_nan, "image features"),
    ],
)
def test_wrong_image_features_are_a_mismatch(model, change, case):
    runner = TorchRunner(model, 400, encoder=EncoderWithChangedImage(model, change))

    with pytest.raises(SelfTestError) as raised:
        check_forward(model, runner)

    assert_is_clear_mismatch(raised.value, case)


def assert_is_clear_mismatch(error: SelfTestError, case: str) -> None:
    assert error.check is Check.FORWARD
    assert error.case == case
    assert error.actual > 1.5 * error.allowed


def test_wrong_head_is_a_mismatch(model):
    text_forward = ForwardWithRolledLogits(model.module, is_fused=True)
    runner = TorchRunner(model, 400, text_forward=text_forward)

    with pytest.raises(SelfTestError, match="token behind"):
        check_forward(model, runner)
