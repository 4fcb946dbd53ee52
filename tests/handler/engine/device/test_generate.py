"""GenerateEngine: equality with `generate`, cancellation, retries and shortages.

The embedded model runs in float32, in which the choice of a token does not depend on
the other pages of a batch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoImageProcessor

from handler.engine.device.generate import GenerateEngine
from handler.engine.device.model import Model, load_model
from handler.engine.request import EngineRequest, FinishReason, Sampling
from handler.engine.steps import RunningStep, StepKind
from handler.profiles import PROFILES
from handler.prompts import chat, load_prompts
from handler.schema import Page
from handler.settings import EngineSettings
from handler.weights.source import MINI, Source, fetch
from tests import documents
from tests.handler.engine.device.shortages import SHORTAGES

MAX_TOKENS = 40
PROMPT = load_prompts(PROFILES["mini"])["ocr_layout"]
SIZES = [(256, 320), (320, 256), (512, 640), (256, 256), (384, 512)]


@pytest.fixture(scope="module")
def model() -> Model:
    weights = fetch(Source("mini", str(MINI)), EngineSettings(), Path("unused"))
    loaded = load_model(weights, "cpu")
    return Model(loaded.module.float(), loaded.tokenizer, weights.profile.stop_tokens)


def draw_image(number: int):
    width, height = SIZES[number % len(SIZES)]
    return documents.text_page([f"Page {number}", "of several"], (width, height))


def create_request(number: int, max_output_tokens: int = MAX_TOKENS) -> EngineRequest:
    picture = draw_image(number)
    width, height = picture.size
    page = Page(number, width, height, width, height, picture.tobytes())
    return EngineRequest(f"a/{number}", "a", page, PROMPT, max_output_tokens)


def generate_reference(model: Model, number: int) -> str:
    """Read a page with transformers; only the chat template is our code."""
    processor = AutoImageProcessor.from_pretrained(MINI)
    inputs = processor(images=[draw_image(number)], return_tensors="pt")
    num_image_tokens = int(inputs["image_grid_thw"].prod()) // 4
    ids = torch.tensor([model.tokenizer.encode(chat(PROMPT, num_image_tokens))])
    output = model.module.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == model.image_token_id).int(),
        max_new_tokens=MAX_TOKENS,
        do_sample=False,
        **inputs,
    )
    return model.detokenise(output[0, ids.shape[1] :].tolist())


def run_engine(engine: GenerateEngine, requests):
    for request in requests:
        engine.submit(request)
    ended = []
    while engine.has_work:
        ended += engine.step(lambda: None)
    return {output.engine_request_id: output for output in ended}


@pytest.mark.parametrize("max_running_pages", [1, 3])
def test_outputs_equal_those_of_generate(model, max_running_pages):
    requests = [create_request(number) for number in range(5)]

    ended = run_engine(GenerateEngine(model, max_running_pages), requests)

    texts = [ended[request.id].text for request in requests]
    assert texts == [generate_reference(model, number) for number in range(5)]
    assert len(set(texts)) == 5


def test_page_ends_at_its_own_limit(model):
    ended = run_engine(
        GenerateEngine(model, 2), [create_request(0, 3), create_request(1, 10)]
    )

    assert ended["a/0"].num_output_tokens <= 3
    assert (
        ended["a/0"].text
        == run_engine(GenerateEngine(model), [create_request(0, 3)])["a/0"].text
    )
    assert ended["a/1"].num_output_tokens > 3


def test_page_at_its_limit_ends_by_length(model):
    assert run_engine(GenerateEngine(model), [create_request(0, 2)])[
        "a/0"
    ].finish_reason is (FinishReason.LENGTH)


def test_cancelled_page_ends_at_the_next_token(model):
    engine = GenerateEngine(model)
    engine.submit(create_request(0, 1000))
    seen = []

    def poll():
        seen.append(engine.count_output_tokens())
        if len(seen) == 3:
            engine.cancel("a/0")

    [output] = engine.step(poll)

    assert output.finish_reason is FinishReason.ABORTED
    assert seen == [{"a/0": 1}, {"a/0": 2}, {"a/0": 3}]


def test_cancelled_page_does_not_change_its_batch(model):
    engine = GenerateEngine(model, 2)
    engine.submit(create_request(0))
    engine.submit(create_request(1))

    ended = engine.step(lambda: engine.cancel("a/0"))

    by_id = {output.engine_request_id: output for output in ended}
    assert by_id["a/0"].finish_reason is FinishReason.ABORTED
    assert by_id["a/1"].text == generate_reference(model, 1)


def test_page_submitted_during_a_step_is_read_in_the_next(model):
    engine = GenerateEngine(model)
    engine.submit(create_request(0, 3))
    late = [create_request(1, 3)]

    first = engine.step(lambda: engine.submit(late.pop()) if late else None)

    assert [output.engine_request_id for output in first] == ["a/0"]
    assert [output.engine_request_id for output in engine.step(lambda: None)] == ["a/1"]
    assert not engine.has_work


def test_page_cancelled_while_it_waits_is_reported_once(model):
    engine = GenerateEngine(model)
    engine.submit(create_request(0, 3))
    engine.submit(create_request(1, 3))
    engine.cancel("a/0")
    engine.cancel("a/0")
    engine.cancel("unknown")

    ended = run_engine(engine, [])

    assert ended["a/0"].finish_reason is FinishReason.ABORTED
    assert ended["a/1"].finish_reason is not FinishReason.ABORTED


class SmallDevice:
    """Module on a device with memory for `max_rows` pages at once."""

    def __init__(self, module: Any, max_rows: int, shortage: str) -> None:
        self._module, self._max_rows = module, max_rows
        self._shortage = shortage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def generate(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        if len(input_ids) > self._max_rows:
            raise SHORTAGES[self._shortage]
        return self._module.generate(input_ids=input_ids, **kwargs)


def place_on_small_device(
    model: Model, max_rows: int, shortage: str = "allocator"
) -> Model:
    module = SmallDevice(model.module, max_rows, shortage)
    return Model(module, model.tokenizer, ("<|im_end|>", "<|endoftext|>"))


@pytest.mark.slow
def test_batch_without_memory_is_read_one_by_one(model):
    ended = run_engine(
        GenerateEngine(place_on_small_device(model, 1), 3),
        map(create_request, range(3)),
    )

    assert [ended[f"a/{n}"].error for n in range(3)] == [None] * 3
    assert ended["a/2"].text == generate_reference(model, 2)


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_page_without_memory_fails_alone(model, shortage):
    engine = GenerateEngine(place_on_small_device(model, 0, shortage))

    ended = run_engine(engine, [create_request(0)])

    assert ended["a/0"].error is not None
    assert ended["a/0"].error.code == "out_of_memory"


def test_steps_are_one_prompt_and_then_single_tokens(model):
    engine = GenerateEngine(model)
    seen: list[RunningStep] = []

    def record_step() -> None:
        step = engine.steps.measure_running_step()
        assert step is not None
        seen.append(step)

    engine.submit(create_request(0, max_output_tokens=4))
    engine.step(record_step)

    assert [step.kind for step in seen] == [StepKind.ENCODE, *[StepKind.DECODE] * 3]
    assert seen[0].size > 50


def test_only_pages_with_a_temperature_are_sampled(model):
    cool = run_engine(
        GenerateEngine(model, 2), [create_request(0, 8), create_request(1, 8)]
    )
    torch.manual_seed(0)
    drawn = replace(create_request(0, 8), temperature=2.0)

    ended = run_engine(
        GenerateEngine(model, 3),
        [drawn, create_request(1, 8), replace(drawn, id="a/2")],
    )

    assert ended["a/1"].text == cool["a/1"].text
    assert len({ended["a/0"].text, ended["a/2"].text, cool["a/0"].text}) == 3


class LoopingModel(Model):
    """Model that repeats itself under greedy decoding."""

    def detokenise(self, token_ids: list[int]) -> str:
        text = super().detokenise(token_ids)
        return text if text != self.likeliest else "and so on " * 100

    likeliest = ""


def test_page_that_repeats_itself_has_its_own_max_attempts(model):
    looping = LoopingModel(model.module, model.tokenizer, ("<|im_end|>",))
    looping.likeliest = run_engine(GenerateEngine(model), [create_request(0, 5)])[
        "a/0"
    ].text
    torch.manual_seed(0)
    engine = GenerateEngine(looping, retries=(Sampling(2.0, 1.0),))

    once = run_engine(engine, [create_request(0, 5)])["a/0"]
    again = run_engine(engine, [replace(create_request(0, 5), max_attempts=4)])["a/0"]

    assert (once.num_attempts, once.has_repetition) == (1, True)
    assert (again.num_attempts, again.has_repetition) == (2, False)
    assert again.num_forwards > again.num_output_tokens


def test_page_with_a_too_long_prompt_fails_alone(model):
    long = replace(create_request(0, 3), prompt="a 1 " * 1000)

    ended = run_engine(GenerateEngine(model, 2), [long, create_request(1, 3)])

    assert ended["a/0"].error is not None
    assert ended["a/0"].error.code == "invalid_option"
    assert "the limit is 1,0" in ended["a/0"].error.detail
    assert ended["a/1"].error is None
