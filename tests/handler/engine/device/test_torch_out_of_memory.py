"""TorchRunner that runs out of memory in the middle of a step, on a processor."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from bench.runs.recorder import record_replay
from handler.engine.batching.kv_cache import Move
from handler.engine.batching.model_runner import Chunk
from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.device.graphs import Outputs, list_shapes, make_cuda_recorder
from handler.engine.device.model import Model, load_model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.fallbacks import Check, SelfTestError
from handler.engine.request import EngineRequest
from handler.errors import OutOfMemoryError
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.schema import Page
from handler.settings import EngineSettings
from handler.weights.source import MINI, Source, fetch
from tests import documents
from tests.handler.engine.device.cuda import FakeCuda
from tests.handler.engine.device.shortages import SHORTAGES

PROMPT = load_prompts(PROFILES["mini"])["ocr_layout"]


@pytest.fixture(scope="module")
def model() -> Model:
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    loaded = load_model(weights, "cpu")
    return Model(loaded.module.float(), loaded.tokenizer, weights.profile.stop_tokens)


def page_of(number: int) -> EngineRequest:
    width, height = [(256, 256), (256, 288)][number]
    picture = documents.text_page([f"Page {number}", "of several"], (width, height))
    page = Page(number, width, height, width, height, picture.tobytes())
    return EngineRequest(f"a/{number}", "a", page, PROMPT, 7)


PAGES = [page_of(number) for number in range(2)]


class ShortOfMemory(TorchDispatchMode):
    """Mode in which one operator raises `error`, by its number from the beginning.

    `alive_bytes` counts the results of the 100 operators before it that still exist.
    """

    def __init__(
        self, failing: int | None, error: Exception = SHORTAGES["allocator"]
    ) -> None:
        super().__init__()
        self._error = error
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
            # A new exception: a stored one would keep the frames of its last raise.
            raise type(self._error)(*self._error.args)
        result = func(*args, **(kwargs or {}))
        # Results of in-place operators are older tensors, such as the cache.
        is_new = not func._schema.is_mutable
        if is_new and self._failing and 0 < self._failing - self.num_calls < 100:
            tensors = (t for t in tree_iter(result) if isinstance(t, torch.Tensor))
            self._recent += [weakref.ref(tensor) for tensor in tensors]
        return result


GRAPH_SHAPES = list_shapes(2, max_drafts=0, max_verified=8)


def create_runner(model: Model) -> TorchRunner:
    return TorchRunner(model, 3000, graph_shapes=GRAPH_SHAPES, record=record_replay)


def run_engine(runner: TorchRunner, failing: int | None) -> tuple[dict[str, str], int]:
    """Return the texts of the pages, and the number of operators that ran."""
    engine = NativeEngine(
        runner, BatchingOptions(max_prefill_tokens=100, expected_output_tokens=10)
    )
    ended = {}
    memory = ShortOfMemory(failing)
    with memory:
        for page in PAGES:
            engine.submit(page)
        while engine.has_work:
            for output in engine.step(lambda: None):
                assert output.error is None
                ended[output.engine_request_id] = output.text
    return ended, memory.num_calls


@pytest.fixture(scope="module")
def expected(model) -> tuple[dict[str, str], int]:
    return run_engine(create_runner(model), None)


@pytest.mark.parametrize("share", [0.0005, 0.02, 0.4, 0.9])
def test_outputs_do_not_change_after_a_shortage(model, expected, share):
    texts, num_calls = expected
    runner = create_runner(model)

    ended, _ = run_engine(runner, int(share * num_calls))

    assert ended == texts
    assert runner.num_cache_positions == 2550
    assert runner._cache.num_positions == 2551


@pytest.mark.parametrize("failing", [100, 150, 260])
def test_error_keeps_no_tensors_of_its_step_alive(model, failing):
    runner = create_runner(model)
    prompt = runner.tokenise(PAGES[0])
    memory = ShortOfMemory(failing)

    with memory, pytest.raises(OutOfMemoryError) as caught:
        runner.prefill(Chunk(prompt, [], 0, prompt.num_tokens, 0))

    # The error still exists here. The model keeps a table of ten numbers.
    assert memory.alive_bytes < 1000
    assert "256 x 256 pixels" in caught.value.detail


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_every_kind_of_shortage_is_converted(model, shortage):
    runner = create_runner(model)

    with (
        ShortOfMemory(1, SHORTAGES[shortage]),
        pytest.raises(OutOfMemoryError, match="256 x 256"),
    ):
        runner.tokenise(PAGES[0])


def test_other_errors_of_a_step_are_not_converted(model):
    runner = create_runner(model)
    crash = torch.AcceleratorError("CUDA error: an illegal memory access")

    with ShortOfMemory(1, crash), pytest.raises(torch.AcceleratorError, match="access"):
        runner.move([Move(0, 50, 100)])


def test_move_without_memory_raises_out_of_memory(model):
    runner = create_runner(model)

    with ShortOfMemory(3), pytest.raises(OutOfMemoryError, match="moving"):
        runner.move([Move(0, 50, 100)])


def test_cache_shrinks_by_at_least_the_largest_image(model):
    runner = TorchRunner(model, 1000, min_cache_tokens=300, image_tokens=400)

    assert runner.shrink_cache() == 600
    assert runner.num_cache_positions == 600


def fail_second_recording(compute: Callable[[], Outputs], calls: Counter[str]) -> Any:
    """Record the shapes of one cache; the second shape of the next one fails."""
    outputs, replay = record_replay(compute)
    calls["record"] += 1
    if calls["record"] == len(GRAPH_SHAPES) + 2:
        raise SHORTAGES["kernel loaded late"]
    return outputs, replay


def check_second_recording(runner: TorchRunner) -> None:
    if runner.num_cache_positions < 3000:
        raise SelfTestError(Check.CUDA_GRAPHS, "2 rows", actual=0.5, allowed=0.05)


@pytest.mark.parametrize("fault", ["cuda_graphs_failed", "cuda_graphs_mismatch"])
def test_steps_are_eager_after_a_shrink_that_loses_graphs(
    model, expected, caplog, fault
):
    texts, num_calls = expected
    calls: Counter[str] = Counter()
    is_wrong = fault == "cuda_graphs_mismatch"
    runner = TorchRunner(
        model,
        3000,
        graph_shapes=GRAPH_SHAPES,
        record=record_replay if is_wrong else lambda c: fail_second_recording(c, calls),
        check_graphs=check_second_recording if is_wrong else None,
    )

    ended, _ = run_engine(runner, int(0.4 * num_calls))

    assert ended == texts
    assert runner.num_cache_positions == 2550
    assert runner.graphs.shapes == []
    [line] = [r for r in caplog.records if r.message == "self-test failed"]
    assert line.fallback == fault


def test_graphs_are_checked_again_after_a_shrink(model):
    checked: list[int] = []
    runner = TorchRunner(
        model,
        100,
        graph_shapes=GRAPH_SHAPES,
        record=record_replay,
        check_graphs=lambda runner: checked.append(runner.num_cache_positions),
    )

    runner.shrink_cache()

    assert checked == [85]
    assert runner.graphs.shapes == GRAPH_SHAPES


def test_shrunk_cache_records_on_the_same_stream(model):
    cuda = FakeCuda()
    runner = TorchRunner(
        model, 100, graph_shapes=GRAPH_SHAPES, record=make_cuda_recorder(None, cuda)
    )

    runner.shrink_cache()

    assert len(cuda.streams) == 1
    assert len(cuda.pools) == 2
    assert cuda.used_pools == [p for p in cuda.pools for _ in GRAPH_SHAPES]


def test_cache_of_one_largest_page_does_not_shrink(model):
    runner = TorchRunner(model, 300, min_cache_tokens=300)

    assert runner.shrink_cache() is None
    assert runner.num_cache_positions == 300
