"""The real runner runs out of memory in the middle of a step, on a processor."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from bench.recorder import recomputed
from handler.engine.graphs import shapes
from handler.engine.kv_cache import Move
from handler.engine.model import Model, load_model
from handler.engine.model_runner import Chunk
from handler.engine.native import NativeEngine, Options
from handler.engine.sequence import Sequence
from handler.engine.torch_runner import TorchRunner
from handler.engine.weights import MINI, Source, fetch
from handler.errors import OutOfMemoryError
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.schema import Page
from handler.settings import EngineSettings
from tests import documents

PROMPT = load_prompts(PROFILES["mini"])["ocr_layout"]


@pytest.fixture(scope="module")
def model() -> Model:
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    loaded = load_model(weights, "cpu")
    return Model(loaded.module.float(), loaded.tokenizer, weights.profile.stop_tokens)


def page_of(number: int) -> Sequence:
    width, height = [(256, 256), (256, 288)][number]
    picture = documents.text_page([f"Page {number}", "of several"], (width, height))
    page = Page(number, width, height, width, height, picture.tobytes())
    return Sequence(f"a/{number}", "a", page, PROMPT, 7)


PAGES = [page_of(number) for number in range(2)]


class ShortOfMemory(TorchDispatchMode):
    """Raises torch.OutOfMemoryError at operator number `failing`.

    `alive_bytes` counts the results of the 100 operators before it that still exist.
    """

    def __init__(self, failing: int | None) -> None:
        super().__init__()
        self.num_calls = 0
        self._failing = failing
        self._recent: list[weakref.ref[torch.Tensor]] = []

    @property
    def alive_bytes(self) -> int:
        return sum(t.nbytes for recent in self._recent if (t := recent()) is not None)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.num_calls += 1
        if self.num_calls == self._failing:
            raise torch.OutOfMemoryError("planted")
        result = func(*args, **(kwargs or {}))
        # Results of in-place operators are older tensors, such as the cache.
        is_new = not func._schema.is_mutable
        if is_new and self._failing and 0 < self._failing - self.num_calls < 100:
            tensors = (t for t in tree_iter(result) if isinstance(t, torch.Tensor))
            self._recent += [weakref.ref(tensor) for tensor in tensors]
        return result


def runner_for(model: Model) -> TorchRunner:
    of_shapes = shapes(2, max_drafts=0, max_verified=8)
    return TorchRunner(model, 3000, graph_shapes=of_shapes, record=recomputed)


def run(runner: TorchRunner, failing: int | None) -> tuple[dict[str, str], int]:
    """Return the texts of the pages, and the number of operators that ran."""
    engine = NativeEngine(
        runner, Options(max_prefill_tokens=100, expected_output_tokens=10)
    )
    ended = {}
    memory = ShortOfMemory(failing)
    for page in PAGES:
        engine.submit(page)
    with memory:
        while engine.has_work:
            for generation in engine.step(lambda: None):
                assert generation.error is None
                ended[generation.sequence_id] = generation.text
    return ended, memory.num_calls


@pytest.fixture(scope="module")
def expected(model) -> tuple[dict[str, str], int]:
    return run(runner_for(model), None)


@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_answers_do_not_change_after_a_shortage(model, expected, share):
    texts, num_calls = expected
    runner = runner_for(model)

    ended, _ = run(runner, int(share * num_calls))

    assert ended == texts
    assert runner.num_places == 2550
    assert runner._pool.num_places == 2551


def test_an_error_keeps_no_tensors_of_its_step_alive(model):
    runner = runner_for(model)
    prompt = runner.prompt_from(PAGES[0])
    memory = ShortOfMemory(150)

    with memory, pytest.raises(OutOfMemoryError) as caught:
        runner.prefill(Chunk(prompt, [], 0, prompt.num_tokens, 0))

    # The error still exists here. The model keeps a table of ten numbers.
    assert memory.alive_bytes < 1000
    assert "256 x 256 pixels" in caught.value.detail


def test_a_move_without_memory_raises_out_of_memory(model):
    runner = runner_for(model)

    with ShortOfMemory(3), pytest.raises(OutOfMemoryError, match="moving"):
        runner.move([Move(0, 50, 100)])


def test_a_cache_shrinks_by_at_least_the_largest_image(model):
    runner = TorchRunner(model, 1000, min_places=300, image_places=400)

    assert runner.shrink_cache() == 600
    assert runner.num_places == 600


def test_a_cache_of_one_largest_page_does_not_shrink(model):
    runner = TorchRunner(model, 300, min_places=300)

    assert runner.shrink_cache() is None
    assert runner.num_places == 300
