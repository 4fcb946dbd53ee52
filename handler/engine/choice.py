"""Which engine runs a model, and how much it takes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence as Seq
from dataclasses import dataclass
from typing import Any

from handler.engine.attempts import RETRIES
from handler.engine.attention import has_operator
from handler.engine.capacity import find_room, verified_tokens
from handler.engine.drafts import Drafter
from handler.engine.engine import Engine
from handler.engine.generate import GenerateEngine
from handler.engine.graphs import Shape, shapes
from handler.engine.model import Model
from handler.engine.native import NativeEngine, Options
from handler.engine.sequence import Sequence
from handler.engine.steps import FIRST_STEP_SECONDS, StepTimer
from handler.engine.torch_runner import (
    KNOWN_MODEL_TYPES,
    TorchRunner,
)
from handler.errors import ModelLoadError
from handler.profiles import PROFILES
from handler.settings import EngineSettings

__all__ = ["ChosenEngine", "choose_engine", "drafts_for"]

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
    # How long a processor takes for its first page depends on the processor.
    is_processor = model.device.type == "cpu"
    steps = StepTimer(first_limit_seconds=None if is_processor else FIRST_STEP_SECONDS)
    if settings.engine == "generate" or not is_known:
        count = settings.max_sequences or _GENERATE_SEQUENCES
        # One step's pages and the next step's, so that no step waits for the pipe.
        return ChosenEngine(
            GenerateEngine(model, count, steps=steps), "generate", 2 * count
        )
    max_verified = verified_tokens(model)

    def shapes_for(max_rows: int) -> list[Shape]:
        return _graph_shapes(model, max_rows, settings.draft_tokens or 0, max_verified)

    room = find_room(model, settings, PROFILES[profile], shapes_for)
    count = room.num_sequences
    largest, longest = PROFILES[profile].sizing, PROFILES[profile].max_output_tokens
    options = Options(
        max_sequences=count,
        max_prefill_tokens=settings.prefill_tokens,
        max_draft_tokens=settings.draft_tokens or 0,
        max_verified_tokens=max_verified,
        max_attempts=settings.max_attempts,
        retries=RETRIES[profile],
    )

    runner = TorchRunner(
        model,
        room.cache_tokens,
        max_page_tokens=largest.max_pixels // _PIXELS_A_TOKEN
        + _PROMPT_TOKENS
        + longest,
        graph_shapes=shapes_for(count),
        min_places=room.min_cache_tokens,
        image_places=room.image_tokens,
    )
    engine = NativeEngine(runner, options, drafts_for=drafts_for(model), steps=steps)
    # And some that can join at once when others leave.
    return ChosenEngine(engine, "native", count + 2)


def drafts_for(model: Model) -> Callable[[Sequence], Drafter]:
    """What makes the guesses for a page, in the model's tokens."""
    words = _Words(model.tokenizer)

    def drafter(sequence: Sequence) -> Drafter:
        return Drafter(
            words, text_layer=sequence.page.text_layer, prompt=sequence.prompt
        )

    return drafter


def _graph_shapes(
    model: Model, max_rows: int, max_drafts: int, max_verified: int
) -> list[Shape]:
    """What is worth recording: nothing where steps are not bound by launches."""
    if not has_operator(model.device, model.module.dtype):
        return []
    return shapes(max_rows, max_drafts=max_drafts, max_verified=max_verified)
