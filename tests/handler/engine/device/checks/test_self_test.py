"""Checks of recorded steps and of the largest image, with injected faults."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.runs.recorder import record_replay
from bench.teacher_forcing.geometry import CHANDRA
from handler.engine.batching.memory_plan import PROMPT_TOKENS
from handler.engine.device.capacity import plan_loaded_model
from handler.engine.device.checks.self_test import (
    CudaSelfTest,
    check_graphs,
    fits_largest_image,
    free_and_probe_device,
)
from handler.engine.device.encoder import TorchPrompt
from handler.engine.device.graphs import Outputs, Record, Shape
from handler.engine.device.model import Model, load_model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.fallbacks import Check, SelfTestError
from handler.engine.request import EngineRequest
from handler.profiles import PROFILES
from handler.settings import EngineSettings
from handler.weights.source import MINI, Source, fetch
from tests.handler.engine.scripted import ScriptedRunner

SHAPES = [Shape(1, 1), Shape(2, 3)]
MAX_PIXELS = PROFILES["mini"].sizing.max_pixels


@pytest.fixture(scope="module")
def model() -> Model:
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    return load_model(weights, "cpu")


def check_recorded_steps(
    model: Model,
    record: Record,
    num_cache_positions: int = 200,
    shapes: Sequence[Shape] = SHAPES,
) -> float:
    """Record steps with `record`, check them and return the largest error."""
    runner = TorchRunner(model, num_cache_positions, graph_shapes=shapes, record=record)
    return check_graphs(
        runner.graphs,
        runner.compute_logits,
        num_cache_positions=num_cache_positions,
        vocabulary_size=model.module.config.text_config.vocab_size,
    )


def record_stale(compute: Callable[[], Outputs]) -> tuple[Outputs, Callable[[], None]]:
    """Record a step whose replay always repeats the recorded outputs."""
    return compute(), lambda: None


def record_correct_once(
    compute: Callable[[], Outputs],
) -> tuple[Outputs, Callable[[], None]]:
    """Record a step that replays correctly once and then repeats that result."""
    outputs, replay = record_replay(compute)
    replays = iter([replay])
    return outputs, lambda: next(replays, lambda: None)()


def record_wrong_tokens(
    compute: Callable[[], Outputs],
) -> tuple[Outputs, Callable[[], None]]:
    """Record a step with correct logits and wrong tokens after the first of a row."""

    def shifted() -> Outputs:
        tokens, logits = compute()
        tokens[:, 1:] = (tokens[:, 1:] + 1) % logits.shape[-1]
        return tokens, logits

    return record_replay(shifted)


def record_nan_logits(
    compute: Callable[[], Outputs],
) -> tuple[Outputs, Callable[[], None]]:
    return record_replay(lambda: (compute()[0], compute()[1] * torch.nan))


def test_correctly_recorded_steps_pass(model):
    assert check_recorded_steps(model, record_replay) < 0.01


@pytest.mark.parametrize(
    "record",
    [record_stale, record_correct_once, record_wrong_tokens, record_nan_logits],
)
def test_recorded_steps_that_differ_are_reported(model, record):
    with pytest.raises(SelfTestError) as raised:
        check_recorded_steps(model, record)

    assert raised.value.check is Check.CUDA_GRAPHS


@pytest.mark.parametrize("number", range(6))
def test_every_recorded_shape_is_checked(model, number):
    shapes = [Shape(rows, width) for rows in (1, 2, 4) for width in (1, 3)]
    records = iter(
        [record_stale if index == number else record_replay for index in range(6)]
    )

    with pytest.raises(SelfTestError) as raised:
        check_recorded_steps(
            model, lambda compute: next(records)(compute), shapes=shapes
        )

    wrong = sorted(shapes, reverse=True)[number]
    assert raised.value.case.startswith(f"{wrong.num_rows} rows of {wrong.width},")


def test_small_cache_is_checked_with_fewer_rows(model):
    assert check_recorded_steps(model, record_replay, num_cache_positions=20) < 0.01
    with pytest.raises(SelfTestError):
        check_recorded_steps(model, record_stale, num_cache_positions=20)


def test_check_without_recorded_steps_passes(model):
    runner = TorchRunner(model, 10)

    assert check_graphs(
        runner.graphs, runner.compute_logits, num_cache_positions=10, vocabulary_size=10
    ) == pytest.approx(0)


class RandomOperators(TorchDispatchMode):
    """Dispatch mode that collects operators that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.num_seen = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.num_seen += 1
        # Attention has the tag because of its dropout, which is the fifth argument.
        has_dropout = "attention" not in str(func) or (len(args) > 4 and args[4])
        if torch.Tag.nondeterministic_seeded in func.tags and has_dropout:
            self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_recorded_part_draws_no_random_number(model):
    runner = TorchRunner(model, 50, graph_shapes=[Shape(2, 3)], record=record_replay)
    rows = torch.tensor([[1, 2, 3, 0, 0, 0], [4, 5, 6, 0, 10, 0]])
    state = torch.get_rng_state()

    with torch.inference_mode(), RandomOperators() as seen:
        runner.decode_fixed(rows)

    assert seen.num_seen > 100
    assert seen.names == set()
    assert torch.equal(torch.get_rng_state(), state)


def test_dispatch_mode_detects_random_operators():
    with RandomOperators() as seen:
        torch.multinomial(torch.ones(3), 1)

    assert seen.names == {"aten.multinomial.default"}


class RememberingRunner(TorchRunner):
    """Runner that keeps its prompts."""

    prompts: list[TorchPrompt]

    def tokenise(self, request: EngineRequest) -> TorchPrompt:
        self.prompts.append(super().tokenise(request))
        return self.prompts[-1]


def test_largest_image_is_encoded_and_released(model):
    runner = RememberingRunner(model, 600)
    runner.prompts = []

    assert fits_largest_image(runner, MAX_PIXELS, max_prefill_tokens=16)

    [prompt] = runner.prompts
    _, rows, columns = prompt.grid
    assert 0.9 * MAX_PIXELS < rows * columns * 16**2 <= MAX_PIXELS
    assert prompt.encoded is None


def test_largest_image_of_chandra_has_its_full_size():
    runner = RunnerWithoutMemory(num_cache_positions=10**6)

    assert not fits_largest_image(
        runner, PROFILES["chandra"].sizing.max_pixels, max_prefill_tokens=1024
    )

    assert runner.sizes == [(3072, 2048)]


@pytest.mark.parametrize("max_side", [None, 1600, 1000, 32])
def test_tested_image_is_the_one_of_the_memory_plan(model, max_side):
    settings = EngineSettings(max_side=max_side, draft_tokens=None)
    plan = plan_loaded_model(
        CHANDRA.config(),
        settings,
        PROFILES["chandra"],
        lambda max_rows: [],
        available_bytes=60 * 2**30,
        capability=(9, 0),
    )
    planned_tokens = plan.page_tokens - PROMPT_TOKENS - 500
    self_test = CudaSelfTest(model, settings, PROFILES["chandra"])
    runner = RunnerWithoutMemory(num_cache_positions=10**6)

    fits_largest_image(runner, self_test.max_pixels, max_prefill_tokens=1024)

    [(width, height)] = runner.sizes
    tested_tokens = width * height // 32**2
    assert 0.9 * planned_tokens <= tested_tokens <= planned_tokens


def test_image_without_memory_for_its_prompt_does_not_fit():
    runner = ScriptedRunner()
    runner.failing = {("tokenise", 0)}

    assert not fits_largest_image(runner, MAX_PIXELS, max_prefill_tokens=16)


class RunnerWithoutMemory(ScriptedRunner):
    """Runner that never has memory for an image."""

    def __init__(self, num_cache_positions: int) -> None:
        super().__init__(num_cache_positions)
        self.out_of_memory = {"self-test"}
        self.sizes: list[tuple[int, int]] = []

    def tokenise(self, request: Any) -> Any:
        self.sizes.append((request.page.pixel_width, request.page.pixel_height))
        return super().tokenise(request)


def test_device_that_computes_is_usable():
    assert free_and_probe_device(torch.device("cpu"))


def test_device_without_pinned_memory_is_not_usable():
    def fail(device: torch.device, host: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("operation not permitted when stream is capturing")

    assert not free_and_probe_device(torch.device("cpu"), fail)
    assert not free_and_probe_device(
        torch.device("cpu"), lambda device, host: host * 0.5
    )


def test_memory_kept_by_a_failed_check_is_logged(model, caplog):
    caplog.set_level(logging.INFO, "handler.engine.device.checks.self_test")
    reserved = iter([100, 130])
    self_test = CudaSelfTest(
        model,
        EngineSettings(),
        PROFILES["mini"],
        count_reserved=lambda device: next(reserved),
    )

    assert self_test.recover()

    [line] = [line for line in caplog.records if line.message == "memory released"]
    assert vars(line)["reserved_bytes_before"] == 100
    assert vars(line)["reserved_bytes"] == 130


def test_device_that_raises_is_not_usable():
    assert not free_and_probe_device(torch.device("cuda:0"))
