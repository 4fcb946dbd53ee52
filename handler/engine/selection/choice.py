"""Choice and construction of the engine that runs a model."""

from __future__ import annotations

import functools
from dataclasses import replace

from handler.engine.batching.attempts import RETRIES
from handler.engine.device.checks.self_test import CudaSelfTest, SelfTest
from handler.engine.device.generate import GenerateEngine
from handler.engine.device.graphs import Record
from handler.engine.device.model import Model
from handler.engine.device.text_forward import find_unsupported_feature
from handler.engine.device.torch_runner import KNOWN_MODEL_TYPES
from handler.engine.fallbacks import (
    Announce,
    ExecutionMode,
    NativeEngineError,
    list_modes,
)
from handler.engine.selection.fallback_search import FallbackSearch
from handler.engine.selection.native_builder import (
    ChosenEngine,
    NativeBuilder,
    make_drafter_factory,
)
from handler.engine.steps import FIRST_STEP_SECONDS, StepTimer
from handler.errors import ModelLoadError
from handler.profiles import PROFILES
from handler.settings import EngineSettings

__all__ = ["ChosenEngine", "choose_engine", "make_drafter_factory"]

_GENERATE_PAGES = 1


def choose_engine(
    model: Model,
    settings: EngineSettings,
    profile: str,
    *,
    announce: Announce = lambda check: None,
    self_test: SelfTest | None = None,
    record: Record | None = None,
) -> ChosenEngine:
    """Build the engine that the settings select.

    The setting `auto` selects the native engine if it supports the model, otherwise
    `generate`. On a GPU the native engine runs a self-test first, and gives up the
    optimisations that fail. `announce` is called before and after each check.
    `self_test` and `record` replace those of CUDA in tests.

    Raises ModelLoadError if the setting is `native` and the model is not supported, or
    if the device has no memory for the cache, and DeviceLostError if a check made the
    device unusable.
    """
    unsupported = _find_unsupported_part(model)
    is_supported = unsupported is None
    if settings.engine == "native" and not is_supported:
        raise ModelLoadError(
            f"the native engine does not support {unsupported}: set engine to auto or "
            "generate"
        )
    # On a CPU the first step has no limit, because its time depends on the CPU.
    is_cpu = model.device.type == "cpu"
    steps = StepTimer(first_limit_seconds=None if is_cpu else FIRST_STEP_SECONDS)
    if settings.engine == "generate" or not is_supported:
        return _build_generate_engine(model, settings, profile, steps)
    if self_test is None and not is_cpu:
        self_test = CudaSelfTest(model, settings, PROFILES[profile])
    if self_test is None:
        builder = NativeBuilder(model, settings, profile, steps, record)
        return builder.build(ExecutionMode())

    search: FallbackSearch[ChosenEngine] = FallbackSearch(announce, self_test.recover)

    @functools.cache
    def prepare_builder() -> NativeBuilder:
        """Pack the weights and plan the memory, once for all execution modes.

        Raises NativeEngineError for any exception but a ModelLoadError.
        """
        try:
            return NativeBuilder(model, settings, profile, steps, record)
        except ModelLoadError:
            raise
        except Exception as error:
            raise NativeEngineError(f"{type(error).__name__}: {error}") from error

    def build(mode: ExecutionMode) -> ChosenEngine:
        if mode.engine == "generate":
            return _build_generate_engine(model, settings, profile, steps)
        return prepare_builder().build_tested(mode, self_test, search)

    modes = list_modes(settings, has_operator=self_test.has_operator)
    chosen = search.run(modes, build)
    return replace(chosen, fallbacks=(*search.fallbacks, *chosen.fallbacks))


def _find_unsupported_part(model: Model) -> str | None:
    """Name a part of the model that the native engine does not support, or None."""
    model_type = model.module.config.model_type
    if model_type not in KNOWN_MODEL_TYPES:
        return f"models of type {model_type}"
    return find_unsupported_feature(model.module)


def _build_generate_engine(
    model: Model, settings: EngineSettings, profile: str, steps: StepTimer
) -> ChosenEngine:
    count = settings.max_sequences or _GENERATE_PAGES
    engine = GenerateEngine(model, count, steps=steps, retries=RETRIES.get(profile, ()))
    # The process holds the pages of two steps, so that no step waits for the pipe.
    return ChosenEngine(engine, "generate", 2 * count, attention="transformers")
