"""Comparison of the native engine with transformers, with and without faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from handler.engine.device.model import Model, load_model
from handler.engine.device.text_forward import TextForward
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.device.vision.forward import Features, PartialEncoding
from handler.engine.fallbacks import Check, SelfTestError
from handler.engine.selection.forward_check import check_forward
from handler.settings import EngineSettings
from handler.weights.source import MINI, Source, fetch


@pytest.fixture(scope="module")
def model() -> Model:
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    return load_model(weights, "cpu")


def runner_for(model: Model, *, is_fused: bool = True) -> TorchRunner:
    runner = TorchRunner(model, 400)
    runner._forward = TextForward(model.module, is_fused=is_fused)
    return runner


def turn_the_other_way(runner: TorchRunner) -> None:
    runner._forward._frequencies = -runner._forward._frequencies


def turn_by_time_alone(runner: TorchRunner) -> None:
    runner._forward._axes = torch.zeros_like(runner._forward._axes)


def swap_features(change: Callable[[Features], Features]):
    def plant(runner: TorchRunner) -> None:
        vision = runner._encoder._vision
        finish = vision.finish

        def finish_wrongly(encoding: PartialEncoding) -> Features:
            return change(finish(encoding))

        vision.finish = finish_wrongly  # type: ignore[method-assign]

    return plant


def two_swapped(features: Features) -> Features:
    order = torch.arange(len(features.embeddings))
    order[:2] = torch.tensor([1, 0])
    return replace(features, embeddings=features.embeddings[order])


def deepstack_reversed(features: Features) -> Features:
    return replace(features, deepstack=features.deepstack[::-1])


def not_finite(features: Features) -> Features:
    return replace(features, embeddings=features.embeddings * torch.nan)


@pytest.mark.parametrize(("is_fused", "bound"), [(False, 0.02), (True, 0.03)])
def test_correct_forward_pass_is_within_rounding(model, is_fused, bound):
    assert check_forward(model, runner_for(model, is_fused=is_fused)) < bound


@pytest.mark.parametrize(
    ("plant", "case"),
    [
        (turn_the_other_way, "keys of the image, layer 0"),
        (turn_by_time_alone, "keys of the image, layer 0"),
        (swap_features(two_swapped), "image features"),
        (swap_features(deepstack_reversed), "image features of layer 0"),
        (swap_features(not_finite), "image features"),
    ],
)
def test_wrong_forward_pass_is_a_mismatch(model, plant, case):
    runner = runner_for(model)
    plant(runner)

    with pytest.raises(SelfTestError) as raised:
        check_forward(model, runner)

    assert raised.value.check is Check.FORWARD
    assert raised.value.case == case
    assert raised.value.actual > 1.5 * raised.value.allowed


def test_wrong_head_is_a_mismatch(model):
    runner = runner_for(model)
    head = runner._forward._head
    runner._forward._head = lambda states: head(states).roll(1, dims=-1)

    with pytest.raises(SelfTestError, match="token behind"):
        check_forward(model, runner)
