"""Which engine runs a model, and how much it takes at once."""

from __future__ import annotations

from dataclasses import dataclass

from handler.engine.engine import Engine
from handler.engine.generate import GenerateEngine
from handler.engine.model import Model
from handler.engine.native import NativeEngine, Options
from handler.engine.torch_runner import KNOWN_MODEL_TYPES, TorchRunner, cache_places
from handler.errors import ModelLoadError
from handler.settings import EngineSettings

__all__ = ["ChosenEngine", "choose_engine"]

_NATIVE_SEQUENCES = 16
_GENERATE_SEQUENCES = 1


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """An engine, its name, and the pages worth having in its process at once."""

    engine: Engine
    name: str
    num_slots: int


def choose_engine(model: Model, settings: EngineSettings) -> ChosenEngine:
    """The engine that is set; `auto` is native where the architecture is known.

    Raises ModelLoadError where native is asked for and the architecture is not.
    """
    model_type = model.module.config.model_type
    is_known = model_type in KNOWN_MODEL_TYPES
    if settings.engine == "native" and not is_known:
        raise ModelLoadError(
            f"the native engine does not know models of type {model_type}: "
            "set engine to auto or generate"
        )
    if settings.engine == "generate" or not is_known:
        count = settings.max_sequences or _GENERATE_SEQUENCES
        # One step's pages and the next step's, so that no step waits for the pipe.
        return ChosenEngine(GenerateEngine(model, count), "generate", 2 * count)
    count = settings.max_sequences or _NATIVE_SEQUENCES
    places = settings.kv_cache_tokens or cache_places(model)
    options = Options(max_sequences=count, max_prefill_tokens=settings.prefill_tokens)
    engine = NativeEngine(TorchRunner(model, places), options)
    # And some that can join at once when others leave.
    return ChosenEngine(engine, "native", count + 2)
