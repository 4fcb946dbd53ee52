"""Choice of the engine for a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.runs.recorder import record_replay
from bench.teacher_forcing.geometry import TINY, empty_module
from handler.engine.batching.native import NativeEngine
from handler.engine.device.checks.forward_check import check_forward
from handler.engine.device.checks.self_test import check_graphs, free_and_probe_device
from handler.engine.device.generate import GenerateEngine
from handler.engine.device.graphs import Outputs, Record
from handler.engine.device.model import Model, load_model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.fallbacks import Check, DeviceLostError, Fallback, SelfTestError
from handler.engine.selection.choice import choose_engine
from handler.errors import ModelLoadError
from handler.settings import EngineSettings
from handler.weights.source import MINI, Source, fetch
from tests.fakes import engine_request
from tests.handler.engine.device.shortages import SHORTAGES


def load_mini() -> Model:
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    return load_model(weights, "cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    return load_mini()


@pytest.fixture(scope="module")
def model_with_negated_logits() -> Model:
    """Model with other weights, so that comparing `model` with it is a mismatch."""
    other = load_mini()
    with torch.no_grad():
        other.module.model.language_model.norm.weight.neg_()
    return other


@pytest.fixture
def unknown_model() -> SimpleNamespace:
    config = SimpleNamespace(model_type="qwen9_vl")
    device = SimpleNamespace(type="cpu")
    return SimpleNamespace(module=SimpleNamespace(config=config), device=device)


@pytest.mark.parametrize("name", ["auto", "native"])
def test_native_engine_runs_a_known_architecture(model, name):
    chosen = choose_engine(
        model, EngineSettings(engine=name, kv_cache_tokens=100), "mini"
    )

    assert chosen.name == "native"
    assert isinstance(chosen.engine, NativeEngine)


def test_generate_is_used_if_configured(model):
    chosen = choose_engine(model, EngineSettings(engine="generate"), "mini")

    assert (chosen.name, chosen.max_pages_in_flight) == ("generate", 2)
    assert isinstance(chosen.engine, GenerateEngine)


def test_generate_runs_an_unknown_architecture(unknown_model):
    assert (
        choose_engine(unknown_model, EngineSettings(engine="auto"), "chandra-2").name
        == "generate"
    )


def test_native_setting_rejects_unknown_architecture(unknown_model):
    with pytest.raises(ModelLoadError, match="qwen9_vl"):
        choose_engine(unknown_model, EngineSettings(engine="native"), "chandra-2")


@pytest.fixture
def unsupported_model() -> SimpleNamespace:
    module = empty_module(TINY)
    module.model.language_model.config.hidden_act = "gelu"
    return SimpleNamespace(module=module, device=SimpleNamespace(type="cpu"))


def test_generate_runs_an_unsupported_configuration(unsupported_model):
    settings = EngineSettings(engine="auto")

    assert choose_engine(unsupported_model, settings, "chandra").name == "generate"


def test_native_setting_names_the_unsupported_feature(unsupported_model):
    with pytest.raises(ModelLoadError, match="activation gelu: set engine to auto"):
        choose_engine(unsupported_model, EngineSettings(engine="native"), "chandra")


def test_engine_holds_more_pages_than_it_runs(model):
    settings = EngineSettings(engine="native", max_sequences=3, kv_cache_tokens=100)

    assert choose_engine(model, settings, "mini").max_pages_in_flight > 3


SETTINGS = EngineSettings(max_sequences=2, kv_cache_tokens=900, draft_tokens=2)


class HostSelfTest:
    """Self-test of a GPU that runs on a CPU, with injected faults.

    The forward pass is compared with that of `reference`, by default the model's own.
    """

    has_operator = True

    def __init__(
        self,
        model: Model,
        *,
        attention: Exception | None = None,
        fits: Callable[[TorchRunner], bool] = lambda runner: True,
        is_usable: bool = True,
        reference: Model | None = None,
    ) -> None:
        self._model = model
        self._attention = attention
        self._fits = fits
        self._is_usable = is_usable
        self._reference = reference or model
        self.num_cache_positions: list[int] = []

    def check_attention(self) -> None:
        if self._attention is not None:
            raise self._attention

    def check_graphs(self, runner: TorchRunner) -> None:
        check_graphs(
            runner.graphs,
            runner.compute_logits,
            num_cache_positions=runner.num_cache_positions,
            vocabulary_size=self._model.module.config.text_config.vocab_size,
        )

    def check_forward(self, runner: TorchRunner) -> None:
        if runner.num_cache_positions < 100:
            return  # Too small for the test page, which the cache of a GPU never is.
        check_forward(self._reference, runner)

    def fits_largest_image(self, runner: TorchRunner) -> bool:
        self.num_cache_positions.append(runner.num_cache_positions)
        return self._fits(runner)

    def recover(self) -> bool:
        return self._is_usable and free_and_probe_device(self._model.device)


def choose_with(
    model: Model,
    self_test: HostSelfTest,
    record: Record = record_replay,
    **settings: object,
):
    """Choose an engine for a GPU with a small cache, by this self-test."""
    return choose_engine(
        model,
        EngineSettings(
            **{"max_sequences": 2, "kv_cache_tokens": 900, "draft_tokens": 2} | settings  # type: ignore[arg-type]
        ),
        "mini",
        self_test=self_test,
        record=record,
    )


def record_stale(compute: Callable[[], Outputs]) -> tuple[Outputs, Callable[[], None]]:
    return compute(), lambda: None


class RecorderThatTurnsStale:
    """Recorder of correct steps, or of stale ones once `is_stale` is set."""

    is_stale = False

    def __call__(
        self, compute: Callable[[], Outputs]
    ) -> tuple[Outputs, Callable[[], None]]:
        return record_stale(compute) if self.is_stale else record_replay(compute)


def make_failing_recorder(num_recorded: int) -> Record:
    """Return a recorder that fails after `num_recorded` shapes."""
    rest = [True] * num_recorded

    def record(compute: Callable[[], Outputs]) -> tuple[Outputs, Callable[[], None]]:
        compute()
        if not rest:
            raise RuntimeError("operation not permitted when stream is capturing")
        rest.pop()
        return record_replay(compute)

    return record


def read_page(chosen) -> str:
    """Return the engine's output text for a page."""
    chosen.engine.submit(engine_request("a/1", "Read."))
    while chosen.engine.has_work:
        for output in chosen.engine.step(lambda: None):
            assert output.error is None
            return str(output.text)
    raise AssertionError("the page never ended")


def test_max_side_limits_the_pages_of_the_native_engine(model):
    max_tokens = []
    for max_side in (256, None):
        settings = replace(SETTINGS, max_side=max_side)
        engine = choose_engine(model, settings, "mini").engine
        assert isinstance(engine, NativeEngine)
        max_tokens.append(engine._runner.max_tokens)

    # The largest image has 64 tokens with 256 x 256 pixels, 360 with 512 x 720.
    assert max_tokens[1] - max_tokens[0] == 360 - 64


def test_no_self_test_runs_on_a_cpu(model):
    announced: list[Check | None] = []

    chosen = choose_engine(model, SETTINGS, "mini", announce=announced.append)

    assert (chosen.attention, chosen.cuda_graphs) == ("torch", False)
    assert chosen.fallbacks == ()
    assert announced == []


def test_optimisations_that_pass_the_self_test_are_used(model):
    chosen = choose_with(model, HostSelfTest(model))

    assert (chosen.attention, chosen.cuda_graphs) == ("flash", True)
    assert chosen.fallbacks == ()


@pytest.mark.parametrize(
    ("record", "fallback"),
    [
        (record_stale, Fallback.CUDA_GRAPHS_MISMATCH),
        (make_failing_recorder(0), Fallback.CUDA_GRAPHS_FAILED),
        (make_failing_recorder(2), Fallback.CUDA_GRAPHS_FAILED),
    ],
)
def test_steps_run_eagerly_if_graphs_fail(model, record, fallback):
    chosen = choose_with(model, HostSelfTest(model), record)

    assert (chosen.name, chosen.attention) == ("native", "flash")
    assert not chosen.cuda_graphs
    assert chosen.fallbacks == (fallback,)
    assert read_page(chosen) == read_page(choose_engine(model, SETTINGS, "mini"))


def test_disabled_graphs_are_not_a_fallback(model):
    chosen = choose_with(model, HostSelfTest(model), record_stale, cuda_graphs=False)

    assert not chosen.cuda_graphs
    assert chosen.fallbacks == ()


def test_torchs_attention_replaces_a_wrong_operator(model):
    wrong = SelfTestError(Check.ATTENTION, "9 queries", actual=1.0, allowed=0.02)

    chosen = choose_with(model, HostSelfTest(model, attention=wrong))

    assert (chosen.attention, chosen.cuda_graphs) == ("torch", False)
    assert chosen.fallbacks == (Fallback.ATTENTION_MISMATCH,)


@pytest.mark.parametrize(
    ("record", "settings", "fallbacks"),
    [
        (record_replay, {}, [Fallback.FORWARD_MISMATCH]),
        (record_replay, {"cuda_graphs": False}, [Fallback.FORWARD_MISMATCH]),
        (record_replay, {"attention": "torch"}, [Fallback.FORWARD_MISMATCH]),
        (record_stale, {}, [Fallback.CUDA_GRAPHS_MISMATCH, Fallback.FORWARD_MISMATCH]),
    ],
)
def test_generate_replaces_a_wrong_forward_pass(
    model, model_with_negated_logits, record, settings, fallbacks
):
    self_test = HostSelfTest(model, reference=model_with_negated_logits)

    chosen = choose_with(model, self_test, record, **settings)

    assert (chosen.name, chosen.attention) == ("generate", "transformers")
    assert chosen.fallbacks == tuple(fallbacks)


def test_generate_replaces_a_native_engine_that_fails(model):
    def break_down(runner: TorchRunner) -> bool:
        raise RuntimeError("no backend for this image")

    chosen = choose_with(model, HostSelfTest(model, fits=break_down))

    assert (chosen.name, chosen.attention) == ("generate", "transformers")
    assert chosen.fallbacks[-1] is Fallback.ENGINE_GENERATE
    expected = choose_engine(load_mini(), EngineSettings(engine="generate"), "mini")
    assert read_page(chosen) == read_page(expected)


def test_generate_is_used_if_planning_fails(model):
    # Planning looks the profile up, which raises an unexpected KeyError.
    chosen = choose_engine(
        model, SETTINGS, "no such profile", self_test=HostSelfTest(model)
    )

    assert chosen.name == "generate"
    assert chosen.fallbacks == (Fallback.ENGINE_GENERATE,)


def test_cache_shrinks_until_the_largest_image_fits(model):
    self_test = HostSelfTest(
        model, fits=lambda runner: runner.num_cache_positions < 700
    )

    chosen = choose_with(model, self_test, max_sequences=1, draft_tokens=None)

    assert self_test.num_cache_positions == [900, 765, 651]
    assert (chosen.name, chosen.cuda_graphs) == ("native", True)
    assert chosen.fallbacks == (Fallback.CACHE_REDUCED,)


def test_graphs_are_disabled_before_the_start_fails(model):
    has_graphs: list[bool] = []

    def fits(runner: TorchRunner) -> bool:
        has_graphs.append(bool(runner.graphs.shapes))
        return not has_graphs[-1]

    chosen = choose_with(model, HostSelfTest(model, fits=fits), kv_cache_tokens=2)

    assert (chosen.attention, chosen.cuda_graphs) == ("flash", False)
    assert has_graphs.count(False) == 1
    assert chosen.fallbacks == (Fallback.CUDA_GRAPHS_FAILED, Fallback.CACHE_REDUCED)


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_each_kind_of_memory_error_shrinks_the_cache(model, shortage):
    def fits(runner: TorchRunner) -> bool:
        if runner.num_cache_positions == 900:
            raise SHORTAGES[shortage]
        return True

    chosen = choose_with(model, HostSelfTest(model, fits=fits))

    assert chosen.cuda_graphs
    assert chosen.fallbacks == (Fallback.CACHE_REDUCED,)


def test_gpu_too_small_for_the_largest_image_is_rejected(model):
    self_test = HostSelfTest(model, fits=lambda runner: False)

    with pytest.raises(ModelLoadError, match="GPU with more memory"):
        choose_with(model, self_test, kv_cache_tokens=4, cuda_graphs=False)


def test_runner_checks_graphs_that_it_records_again(model):
    recorder = RecorderThatTurnsStale()
    runner = choose_with(model, HostSelfTest(model), recorder).engine._runner
    assert runner.graphs.shapes
    recorder.is_stale = True

    runner.shrink_cache()

    assert runner.graphs.shapes == []


def test_lost_device_ends_the_search(model):
    self_test = HostSelfTest(model, is_usable=False)

    with pytest.raises(DeviceLostError):
        choose_with(model, self_test, make_failing_recorder(1))
