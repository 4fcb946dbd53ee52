"""Teacher forcing: pages with predetermined answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.costs.roofline import Prefill
from bench.runs.recorder import record_replay
from bench.teacher_forcing.forcing import (
    ForcedPage,
    ForcedRunner,
    make_forced_pages,
    make_timer,
)
from bench.teacher_forcing.geometry import GEOMETRIES, random_model
from bench.teacher_forcing.lengths import Lengths
from bench.teacher_forcing.steady import run_steadily
from bench.teacher_forcing.tokenizer import QwenTokenizer
from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.device.generate import GenerateEngine
from handler.engine.device.graphs import list_shapes
from handler.engine.device.model import Model
from handler.engine.device.torch_runner import TorchRunner
from handler.engine.request import EngineOutput
from handler.engine.selection.choice import make_drafter_factory

CPU = torch.device("cpu")
TINY = GEOMETRIES["tiny"]


@pytest.fixture(scope="module")
def tokenizer() -> QwenTokenizer:
    return QwenTokenizer()


@pytest.fixture(scope="module")
def pages(tokenizer) -> list[ForcedPage]:
    return make_forced_pages(TINY, tokenizer, 6)


def tiny_model() -> Model:
    return random_model(TINY, CPU)


def make_native_engine(model, *, num_drafts=0, graph_shapes=()):
    runner = ForcedRunner(
        TorchRunner(model, 4000, graph_shapes=graph_shapes, record=record_replay),
        make_timer(CPU, lambda: 0.0),
    )
    options = BatchingOptions(
        max_running_pages=3, max_draft_tokens=num_drafts, max_attempts=1
    )
    return NativeEngine(
        runner, options, create_drafter=make_drafter_factory(model)
    ), runner


def run_engine(engine, pages) -> dict[str, EngineOutput]:
    for page in pages:
        engine.submit(page.request)
    ended: dict[str, EngineOutput] = {}
    while engine.has_work:
        ended |= {g.engine_request_id: g for g in engine.step(lambda: None)}
    return ended


@pytest.mark.parametrize("num_drafts", [0, 4])
@pytest.mark.parametrize(
    "graph_shapes",
    [(), list_shapes(3, max_drafts=4, max_verified=64)],
    ids=["eager", "recorded"],
)
def test_forced_page_outputs_its_transcription(
    tokenizer, pages, num_drafts, graph_shapes
):
    engine, runner = make_native_engine(
        tiny_model(), num_drafts=num_drafts, graph_shapes=graph_shapes
    )
    for page in pages:
        runner.add_answer(page)

    outputs = run_engine(engine, pages)

    for page in pages:
        assert outputs[page.request.id].text == tokenizer.decode(list(page.tokens))
    assert any(g.num_accepted_tokens for g in outputs.values()) == (num_drafts > 0)


def test_the_image_of_a_page_counts_once(pages):
    engine, runner = make_native_engine(tiny_model())
    page = pages[0].request.page
    runner.add_answer(pages[0])

    run_engine(engine, pages[:1])

    works = [forward.work for forward in runner.forwards]
    patches = [work.num_patches for work in works if isinstance(work, Prefill)]
    assert sum(patches) == page.pixel_width * page.pixel_height // 16**2


@pytest.mark.parametrize("batch_size", [1, 4])
def test_generate_outputs_the_forced_number_of_tokens(pages, batch_size):
    outputs = run_engine(GenerateEngine(tiny_model(), batch_size), pages)

    assert {name: g.num_output_tokens for name, g in outputs.items()} == {
        page.request.id: len(page.tokens) for page in pages
    }


def test_page_that_ends_early_is_an_error(pages):
    model = tiny_model()
    engine, runner = make_native_engine(model)
    stopping = ForcedPage(pages[0].request, (5, *model.stop_token_ids, 5, 5, 5, 5))

    with pytest.raises(RuntimeError, match="forced tokens"):
        run_steadily(engine, runner, [stopping], in_flight=1, seconds=0.0)


def test_transcription_is_truncated_to_its_length(tokenizer):
    lengths = Lengths(median=950, sigma=0.65, fewest=200, most=3000)

    longer = make_forced_pages(replace(TINY, lengths=lengths), tokenizer, 9)

    assert [len(page.tokens) for page in longer] == lengths.quantiles(9)
    texts = {tokenizer.decode(list(page.tokens[:40])) for page in longer}
    assert len(texts) > 3
