"""Which engine a model gets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.geometry import TINY, empty_module
from handler.engine.choice import choose_engine
from handler.engine.generate import GenerateEngine
from handler.engine.model import Model, load_model
from handler.engine.native import NativeEngine
from handler.engine.weights import MINI, Source, fetch
from handler.errors import ModelLoadError
from handler.settings import EngineSettings


@pytest.fixture(scope="module")
def model() -> Model:
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    return load_model(weights, "cpu")


@pytest.fixture
def unknown() -> SimpleNamespace:
    config = SimpleNamespace(model_type="qwen9_vl")
    device = SimpleNamespace(type="cpu")
    return SimpleNamespace(module=SimpleNamespace(config=config), device=device)


@pytest.mark.parametrize("name", ["auto", "native"])
def test_a_known_architecture_is_read_by_the_native_engine(model, name):
    chosen = choose_engine(
        model, EngineSettings(engine=name, kv_cache_tokens=100), "mini"
    )

    assert chosen.name == "native"
    assert isinstance(chosen.engine, NativeEngine)


def test_generate_is_taken_where_it_is_asked_for(model):
    chosen = choose_engine(model, EngineSettings(engine="generate"), "mini")

    assert (chosen.name, chosen.num_slots) == ("generate", 2)
    assert isinstance(chosen.engine, GenerateEngine)


def test_an_unknown_architecture_is_read_by_generate(unknown):
    assert (
        choose_engine(unknown, EngineSettings(engine="auto"), "chandra-2").name
        == "generate"
    )


def test_the_native_engine_says_that_it_does_not_know_an_architecture(unknown):
    with pytest.raises(ModelLoadError, match="qwen9_vl"):
        choose_engine(unknown, EngineSettings(engine="native"), "chandra-2")


@pytest.fixture
def unsupported() -> SimpleNamespace:
    module = empty_module(TINY)
    module.model.language_model.config.hidden_act = "gelu"
    return SimpleNamespace(module=module, device=SimpleNamespace(type="cpu"))


def test_a_configuration_that_is_not_computed_is_read_by_generate(unsupported):
    settings = EngineSettings(engine="auto")

    assert choose_engine(unsupported, settings, "chandra").name == "generate"


def test_the_native_engine_says_what_it_does_not_compute(unsupported):
    with pytest.raises(ModelLoadError, match="activation gelu: set engine to auto"):
        choose_engine(unsupported, EngineSettings(engine="native"), "chandra")


def test_more_pages_are_held_than_run_so_that_one_can_join_at_once(model):
    settings = EngineSettings(engine="native", max_sequences=3, kv_cache_tokens=100)

    assert choose_engine(model, settings, "mini").num_slots > 3
