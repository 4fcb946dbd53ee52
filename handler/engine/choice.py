"""Which engine runs a model, and how much it takes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence as Seq
from dataclasses import dataclass
from typing import Any

from handler.engine.attempts import RETRIES
from handler.engine.attention import has_operator
from handler.engine.capacity import cache_places, verified_tokens
from handler.engine.drafts import Drafter
from handler.engine.engine import Engine
from handler.engine.generate import GenerateEngine
from handler.engine.graphs import Shape, shapes
from handler.engine.model import Model
from handler.engine.native import NativeEngine, Options
from handler.engine.sequence import Sequence
from handler.engine.steps import FIRST_STEP_SECONDS, StepTimer
from handler.engine.text_forward import unsupported_feature
from handler.engine.torch_runner import (
    KNOWN_MODEL_TYPES,
    TorchRunner,
)
from handler.errors import ModelLoadError
from handler.profiles import PROFILES
from handler.settings import EngineSettings

__all__ = ["ChosenEngine", "choose_engine", "drafts_for"]

_CPU_SEQUENCES = 16
_GPU_SEQUENCES = 64
"""At most; memory for fewer than that means fewer."""
_GPU_PAGE_TOKENS = 4000
"""A smaller page than most, so that no page waits that there is room for."""
_GENERATE_SEQUENCES = 1
_PIXELS_A_TOKEN = 32 * 32
_PROMPT_TOKENS = 1024
"""More than any prompt has beside its image."""


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """An engine, its name, and the pages worth having in its process at once."""

    engine: Engine
    name: str
    num_slots: int


class _Words:
    """The tokenizer as a drafter wants it: text alone, nothing added."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Seq[int]) -> str:
        return str(self._tokenizer.decode(list(ids)))


def choose_engine(model: Model, settings: EngineSettings, profile: str) -> ChosenEngine:
    """Make the engine that is set; `auto` is native where the model is known.

    Raises ModelLoadError where native is asked for and does not know the model.
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
        count = settings.max_sequences or _GENERATE_SEQUENCES
        # One step's pages and the next step's, so that no step waits for the pipe.
        return ChosenEngine(
            GenerateEngine(model, count, steps=steps), "generate", 2 * count
        )
    places = settings.kv_cache_tokens or cache_places(model)
    count = settings.max_sequences or _num_sequences(model, places)
    largest, longest = PROFILES[profile].sizing, PROFILES[profile].max_output_tokens
    options = Options(
        max_sequences=count,
        max_prefill_tokens=settings.prefill_tokens,
        max_draft_tokens=settings.draft_tokens or 0,
        max_verified_tokens=verified_tokens(model),
        max_attempts=settings.max_attempts,
        retries=RETRIES[profile],
    )

    runner = TorchRunner(
        model,
        places,
        max_page_tokens=largest.max_pixels // _PIXELS_A_TOKEN
        + _PROMPT_TOKENS
        + longest,
        graph_shapes=_graph_shapes(model, options),
    )
    engine = NativeEngine(runner, options, drafts_for=drafts_for(model), steps=steps)
    # And some that can join at once when others leave.
    return ChosenEngine(engine, "native", count + 2)


def _unknown_part(model: Model) -> str | None:
    """Name what of the model the native engine cannot compute; None if nothing."""
    model_type = model.module.config.model_type
    if model_type not in KNOWN_MODEL_TYPES:
        return f"models of type {model_type}"
    return unsupported_feature(model.module)


def drafts_for(model: Model) -> Callable[[Sequence], Drafter]:
    """What makes the guesses for a page, in the model's tokens."""
    words = _Words(model.tokenizer)

    def drafter(sequence: Sequence) -> Drafter:
        return Drafter(
            words, text_layer=sequence.page.text_layer, prompt=sequence.prompt
        )

    return drafter


def _num_sequences(model: Model, places: int) -> int:
    if model.device.type != "cuda":
        return _CPU_SEQUENCES
    return max(1, min(_GPU_SEQUENCES, places // _GPU_PAGE_TOKENS))


def _graph_shapes(model: Model, options: Options) -> list[Shape]:
    """What is worth recording: nothing where steps are not bound by launches."""
    if not has_operator(model.device, model.module.dtype):
        return []
    return shapes(
        options.max_sequences,
        max_drafts=options.max_draft_tokens,
        max_verified=options.max_verified_tokens,
    )
