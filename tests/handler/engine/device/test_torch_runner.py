"""Equality of the native engine's output with transformers' `generate`, in float32.

The output must not depend on the other pages of a batch, on the chunks of a prefill, on
preemption or on drafts. GenerateEngine stands for `generate` (see test_generate.py).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.runs.recorder import record_replay
from handler.engine.batching.kv_cache import Move
from handler.engine.batching.model_runner import Row
from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.device.encoder import Encoder, TorchPrompt
from handler.engine.device.generate import GenerateEngine
from handler.engine.device.graphs import FixedRow, Shape, list_shapes
from handler.engine.device.model import Model, load_model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.request import EngineRequest, Sampling
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.schema import Page
from handler.settings import EngineSettings
from handler.weights.source import MINI, Source, fetch
from tests import documents

SIZES = [(256, 320), (320, 256), (384, 512), (256, 256), (288, 416)]
NUM_PAGES = 8
PROMPT = load_prompts(PROFILES["mini"])["ocr_layout"]


@pytest.fixture(scope="module")
def model() -> Model:
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    loaded = load_model(weights, "cpu")
    return Model(loaded.module.float(), loaded.tokenizer, weights.profile.stop_tokens)


def create_request(number: int) -> EngineRequest:
    width, height = SIZES[number % len(SIZES)]
    picture = documents.text_page([f"Page {number}", "of several"], (width, height))
    page = Page(number, width, height, width, height, picture.tobytes())
    return EngineRequest(f"a/{number}", "a", page, PROMPT, 20 + 9 * (number % 4))


PAGES = [create_request(number) for number in range(NUM_PAGES)]


def run_engine(
    engine: Any, pages: list[EngineRequest]
) -> dict[str, tuple[str, str, int]]:
    for page in pages:
        engine.submit(page)
    ended = {}
    while engine.has_work:
        for output in engine.step(lambda: None):
            ended[output.engine_request_id] = (
                output.text,
                output.finish_reason,
                output.num_output_tokens,
            )
    return ended


@pytest.fixture(scope="module")
def expected(model: Model) -> dict[str, tuple[str, str, int]]:
    answers = run_engine(GenerateEngine(model), PAGES)
    assert len({text for text, _, _ in answers.values()}) == NUM_PAGES
    return answers


def create_native_engine(
    model: Model, *, num_cache_positions: int = 4000, **options: Any
) -> Any:
    options = {"expected_output_tokens": 20, "max_draft_tokens": 0} | options
    sizes = BatchingOptions(**options)
    runner = TorchRunner(
        model, num_cache_positions, max_prefill_tokens=sizes.max_prefill_tokens
    )
    return NativeEngine(runner, sizes)


def test_outputs_of_a_batch_equal_those_of_generate(model, expected):
    assert run_engine(create_native_engine(model), PAGES) == expected


def test_output_of_a_single_page_equals_that_of_generate(model, expected):
    for page in PAGES:
        assert run_engine(create_native_engine(model), [page]) == {
            page.id: expected[page.id]
        }


@pytest.mark.parametrize("chunk", [17, 64, 101])
def test_size_of_prefill_chunks_does_not_change_outputs(model, expected, chunk):
    assert (
        run_engine(create_native_engine(model, max_prefill_tokens=chunk), PAGES)
        == expected
    )


def test_slice_has_at_least_one_block(model):
    runner = TorchRunner(model, 1000, max_prefill_tokens=1)
    prompt = runner.tokenise(PAGES[0])

    slices = [runner.encode(prompt)]
    while not slices[-1]:
        slices.append(runner.encode(prompt))

    assert slices == [False, False, False, True]
    assert prompt.is_encoded


def test_slice_without_memory_releases_the_image(model):
    class KernelWithoutMemoryInSecondCall:
        num_calls = 0

        def __call__(
            self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
        ) -> torch.Tensor:
            self.num_calls += 1
            if self.num_calls == 2:
                raise torch.OutOfMemoryError("too much")
            return query

    encoder = Encoder(model, slice_tokens=1, attend=KernelWithoutMemoryInSecondCall())
    prompt = encoder.tokenise(PAGES[0])
    encoder.encode(prompt)
    assert prompt.encoding is not None

    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(prompt)

    assert prompt.encoding is None
    assert encoder.finish_encoding(prompt).embeddings.shape[0] == prompt.num_tokens


def test_preemption_does_not_change_outputs(model, expected):
    pair = [PAGES[2], PAGES[7]]  # The largest pages, which have the same size.
    num_prompt_tokens = TorchRunner(model, 1).tokenise(pair[0]).num_tokens
    runner = ReleaseCountingRunner(model, 2 * num_prompt_tokens + 15)
    options = BatchingOptions(expected_output_tokens=0, max_draft_tokens=0)

    outputs = run_engine(NativeEngine(runner, options), pair)

    assert outputs == {page.id: expected[page.id] for page in pair}
    # A page that is not preempted releases its image twice: after its prefill, and at
    # its end.
    assert runner.num_releases > 2 * len(pair), "no page was preempted"


class ReleaseCountingRunner(TorchRunner):
    """Runner that counts the calls of `release_image`."""

    num_releases = 0

    def release_image(self, prompt: TorchPrompt) -> None:
        self.num_releases += 1
        super().release_image(prompt)


class FixedDrafts:
    """Drafts of a known output with a share of wrong tokens."""

    def __init__(self, tokens: list[int], acceptance: float) -> None:
        self.tokens = tokens
        self.acceptance = acceptance
        self.rng = random.Random(1)
        self.num_output_tokens = 0

    def extend(self, tokens: list[int]) -> None:
        self.num_output_tokens += len(tokens)

    def draft(self, max_tokens: int) -> list[int]:
        following = self.tokens[
            self.num_output_tokens : self.num_output_tokens + max_tokens
        ]
        return [t if self.rng.random() < self.acceptance else 9 for t in following]

    def reset(self) -> None:
        self.num_output_tokens = 0


DRAFT_ROWS = pytest.mark.parametrize("draft_rows", [False, True], ids=["", "as rows"])


@DRAFT_ROWS
@pytest.mark.parametrize("acceptance", [1.0, 0.6])
def test_drafts_do_not_change_outputs(model, expected, acceptance, draft_rows):
    def create_drafter(page: EngineRequest) -> FixedDrafts:
        text, _, _ = expected[page.id]
        return FixedDrafts(
            model.tokenizer.encode(text, add_special_tokens=False), acceptance
        )

    options = BatchingOptions(expected_output_tokens=20, max_draft_tokens=5)
    runner = TorchRunner(model, 4000, draft_rows=draft_rows)
    engine = NativeEngine(runner, options, create_drafter=create_drafter)

    assert run_engine(engine, PAGES) == expected


ALL_SHAPES = list_shapes(8, max_drafts=4, max_verified=64)


class RecordedStepsRunner(TorchRunner):
    """Runner that fails the test if a step fits into no recorded shape."""

    def decode(self, rows: Sequence[Row[TorchPrompt]]) -> list[list[int]]:
        fixed = [
            FixedRow(row.tokens, row.start, row.segment_start, row.prompt.rope_delta)
            for row in rows
        ]
        assert self.graphs.find_shape(fixed) is not None
        return super().decode(rows)


@pytest.mark.parametrize(
    ("acceptance", "draft_rows"), [(None, False), (0.6, False), (0.6, True)]
)
def test_recorded_steps_do_not_change_outputs(model, expected, acceptance, draft_rows):
    def create_drafter(page: EngineRequest) -> FixedDrafts | None:
        if acceptance is None:
            return None
        text, _, _ = expected[page.id]
        return FixedDrafts(
            model.tokenizer.encode(text, add_special_tokens=False), acceptance
        )

    runner = RecordedStepsRunner(
        model,
        4000,
        graph_shapes=ALL_SHAPES,
        record=record_replay,
        draft_rows=draft_rows,
    )
    options = BatchingOptions(expected_output_tokens=20, max_draft_tokens=4)

    engine = NativeEngine(runner, options, create_drafter=create_drafter)

    assert run_engine(engine, PAGES) == expected


def test_step_without_a_recorded_shape_runs_eagerly(model, expected):
    runner = TorchRunner(model, 4000, graph_shapes=[Shape(2, 1)], record=record_replay)
    engine = NativeEngine(runner, BatchingOptions(expected_output_tokens=20))

    assert run_engine(engine, PAGES) == expected


def test_moved_segment_gives_the_same_tokens(model):
    runner = TorchRunner(model, 2000)
    prompt = runner.tokenise(PAGES[0])
    first = _prefill(runner, prompt, 0)
    [[second]] = runner.decode([Row(prompt, [first], prompt.num_tokens, 0)])

    runner.move([Move(0, 50, prompt.num_tokens), Move(50, 900, prompt.num_tokens)])

    again = runner.decode([Row(prompt, [first], prompt.num_tokens, 900)])
    assert again == [[second]]


def _prefill(runner: TorchRunner, prompt: Any, start: int) -> int:
    from handler.engine.batching.model_runner import Chunk

    token = runner.prefill(Chunk(prompt, [], 0, prompt.num_tokens, start))
    assert token is not None
    return token


def test_sampling_at_a_very_low_temperature_is_greedy(model):
    runner = TorchRunner(model, 1000)
    prompt = runner.tokenise(PAGES[0])
    first = _prefill(runner, prompt, 0)
    row = Row(prompt, [first], prompt.num_tokens, 0)
    [[greedy]] = runner.decode([row])

    cold = Row(prompt, [first], prompt.num_tokens, 0, Sampling(1e-4, 1.0))
    narrow = Row(prompt, [first], prompt.num_tokens, 0, Sampling(5.0, 1e-6))

    assert runner.decode([cold, narrow]) == [[greedy], [greedy]]


def test_sampling_at_a_high_temperature_differs(model):
    torch.manual_seed(0)
    runner = TorchRunner(model, 1000)
    prompt = runner.tokenise(PAGES[0])
    first = _prefill(runner, prompt, 0)
    hot = Row(prompt, [first], prompt.num_tokens, 0, Sampling(50.0, 1.0))

    assert len({runner.decode([hot])[0][0] for _ in range(20)}) > 5


def test_recorded_steps_can_sample(model):
    torch.manual_seed(0)
    runner = TorchRunner(model, 1000, graph_shapes=ALL_SHAPES, record=record_replay)
    prompt = runner.tokenise(PAGES[0])
    first = _prefill(runner, prompt, 0)
    row = Row(prompt, [first], prompt.num_tokens, 0)
    hot = Row(prompt, [first], prompt.num_tokens, 0, Sampling(50.0, 1.0))
    cold = Row(prompt, [first], prompt.num_tokens, 0, Sampling(1e-4, 1.0))

    assert runner.decode([cold]) == runner.decode([row])
    assert len({runner.decode([row, hot])[1][0] for _ in range(20)}) > 5
