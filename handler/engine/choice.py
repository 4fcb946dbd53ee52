"""Which engine runs a model, and how much it takes at once."""

from __future__ import annotations

from dataclasses import replace

from handler.engine.fallback_search import FallbackSearch
from handler.engine.fallbacks import Announce, ExecutionMode, list_modes
from handler.engine.generate import GenerateEngine
from handler.engine.graphs import Record
from handler.engine.model import Model
from handler.engine.native_builder import ChosenEngine, NativeBuilder, drafts_for
from handler.engine.self_test import CudaSelfTest, SelfTest
from handler.engine.steps import FIRST_STEP_SECONDS, StepTimer
from handler.engine.text_forward import unsupported_feature
from handler.engine.torch_runner import KNOWN_MODEL_TYPES
from handler.errors import ModelLoadError
from handler.profiles import PROFILES
from handler.settings import EngineSettings

__all__ = ["ChosenEngine", "choose_engine", "drafts_for"]

_GENERATE_SEQUENCES = 1


def choose_engine(
    model: Model,
    settings: EngineSettings,
    profile: str,
    *,
    announce: Announce = lambda check: None,
    self_test: SelfTest | None = None,
    record: Record | None = None,
) -> ChosenEngine:
    """Choose the engine that is set; `auto` is native if it knows the model.

    On a GPU the native engine passes a self-test first, and gives up what fails. Each
    check is told to `announce`. `self_test` and `record` stand in for CUDA's.

    Raises ModelLoadError if native is set and does not know the model, or if the
    device has no memory for the cache; DeviceLostError if a check has made the device
    unusable.
    """
    unknown = _unknown_part(model)
    is_known = unknown is None
    if settings.engine == "native" and not is_known:
        raise ModelLoadError(
            f"the native engine does not know {unknown}: set engine to auto or generate"
        )
    # How long a processor takes for its first page depends on the processor.
    is_processor = model.device.type == "cpu"
    steps = StepTimer(first_limit_seconds=None if is_processor else FIRST_STEP_SECONDS)
    if settings.engine == "generate" or not is_known:
        return _choose_generate(model, settings, steps)
    if self_test is None and not is_processor:
        sizing = PROFILES[profile].sizing
        self_test = CudaSelfTest(model, sizing, settings.prefill_tokens)
    builder = NativeBuilder(model, settings, profile, steps, record)
    if self_test is None:
        return builder.build(ExecutionMode())

    search: FallbackSearch[ChosenEngine] = FallbackSearch(announce, self_test.recover)

    def build(mode: ExecutionMode) -> ChosenEngine:
        if mode.engine == "generate":
            return _choose_generate(model, settings, steps)
        return builder.build_tested(mode, self_test, search)

    modes = list_modes(settings, has_operator=self_test.has_operator)
    chosen = search.run(modes, build)
    return replace(chosen, fallbacks=(*search.fallbacks, *chosen.fallbacks))


def _unknown_part(model: Model) -> str | None:
    """Name what of the model the native engine cannot compute; None if nothing."""
    model_type = model.module.config.model_type
    if model_type not in KNOWN_MODEL_TYPES:
        return f"models of type {model_type}"
    return unsupported_feature(model.module)


def _choose_generate(
    model: Model, settings: EngineSettings, steps: StepTimer
) -> ChosenEngine:
    count = settings.max_sequences or _GENERATE_SEQUENCES
    engine = GenerateEngine(model, count, steps=steps)
    # One step's pages and the next step's, so that no step waits for the pipe.
    return ChosenEngine(engine, "generate", 2 * count, attention="transformers")
