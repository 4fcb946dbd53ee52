"""Native engine over a scripted model, for tests."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.request import EngineOutput, EngineRequest
from tests.handler.engine.scripted import ScriptedRunner


class FixedDrafts:
    """Drafts of a script; each token is correct with a probability of `acceptance`."""

    def __init__(self, script: str, acceptance: float = 1.0, seed: int = 0) -> None:
        self.script = [*script.encode(), 0]
        self.acceptance = acceptance
        self.rng = random.Random(seed)
        self.output_tokens: list[int] = []

    def extend(self, tokens: list[int]) -> None:
        self.output_tokens += tokens

    def draft(self, max_tokens: int) -> list[int]:
        following = self.script[
            len(self.output_tokens) : len(self.output_tokens) + max_tokens
        ]
        return [t if self.rng.random() < self.acceptance else 63 for t in following]

    def reset(self) -> None:
        self.output_tokens = []


def create_engine(
    runner: ScriptedRunner, *, acceptance: float | None = None, **options: Any
) -> Any:
    def create_drafter(page: EngineRequest) -> FixedDrafts | None:
        return None if acceptance is None else FixedDrafts(page.prompt, acceptance)

    options = {"expected_output_tokens": 0, "max_draft_tokens": 0} | options
    return NativeEngine(
        runner, BatchingOptions(**options), create_drafter=create_drafter
    )


def run_step(engine) -> Any:
    return engine.step(lambda: None)


def run_engine(engine, pages: Iterable[EngineRequest] = ()) -> dict[str, Any]:
    """Submit the pages, run steps until no work is left, and return outputs by id."""
    for page in pages:
        engine.submit(page)
    ended = {}
    while engine.has_work:
        for output in run_step(engine):
            assert output.engine_request_id not in ended
            ended[output.engine_request_id] = output
    return ended


def texts(ended: dict[str, EngineOutput]) -> dict[str, str]:
    return {name: output.text for name, output in ended.items()}


def is_memory_free(runner, engine) -> Any:
    """Return whether no cache position is allocated and no image is held."""
    is_cache_free = engine.num_free_positions == runner.num_cache_positions
    return is_cache_free and not runner.held
