"""Continuous batching of the native engine, over a scripted model."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings, strategies as st

from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.request import EngineOutput, FinishReason
from handler.engine.steps import StepKind, StepTimer
from tests.handler.engine.batching.native_engine import (
    create_engine,
    is_memory_free,
    run_engine,
    run_step,
    texts,
)
from tests.handler.engine.scripted import ScriptedRunner, engine_request


def test_page_ends_after_its_output():
    [output] = run_engine(
        create_engine(ScriptedRunner()), [engine_request("a", "hello")]
    ).values()

    assert output.text == "hello"
    assert output.finish_reason is FinishReason.STOP
    assert output.num_output_tokens == 5


def test_output_ends_at_its_limit():
    page = engine_request("a", "hello", max_output_tokens=3)

    [output] = run_engine(create_engine(ScriptedRunner()), [page]).values()

    assert (output.text, output.finish_reason) == ("hel", FinishReason.LENGTH)


def test_output_as_long_as_its_limit_ends_by_length():
    page = engine_request("a", "hello", max_output_tokens=5)

    [output] = run_engine(create_engine(ScriptedRunner()), [page]).values()

    assert (output.text, output.finish_reason) == ("hello", FinishReason.LENGTH)


def test_pages_of_different_lengths_run_together():
    answers = {name: name * (7 * i + 1) for i, name in enumerate("abcdefgh")}
    runner = ScriptedRunner()

    ended = run_engine(
        create_engine(runner), [engine_request(n, answers[n]) for n in answers]
    )

    assert texts(ended) == answers
    # The longest answer's forwards, and for each page an encoding and a prefill.
    assert len(runner.forwards) <= len(answers["h"]) + 3 * len(answers)


def test_page_joins_a_running_batch():
    runner = ScriptedRunner()
    engine = create_engine(runner)
    engine.submit(engine_request("long", "x" * 50))
    for _ in range(10):
        run_step(engine)
    engine.submit(engine_request("short", "hi"))

    ended: list[str] = []
    while engine.has_work:
        ended += [output.engine_request_id for output in run_step(engine)]

    assert ended == ["short", "long"]


def test_prompt_is_prefilled_between_tokens_of_other_pages():
    runner = ScriptedRunner()
    engine = create_engine(runner, max_prefill_tokens=7)
    engine.submit(engine_request("a", "x" * 30, prompt=3))
    run_step(engine)
    runner.forwards.clear()

    ended = run_engine(engine, [engine_request("b", "yes", prompt=40)])

    assert texts(ended) == {"a": "x" * 30, "b": "yes"}
    assert [7] in runner.forwards
    assert max(sum(forward) for forward in runner.forwards) <= 7


@pytest.mark.parametrize("num_slices", [1, 5])
def test_pages_decode_between_slices_of_an_image(num_slices):
    runner = ScriptedRunner(num_slices=num_slices)
    engine = create_engine(runner)
    for name in "ab":
        engine.submit(engine_request(name, name * 50))
    while len(engine.count_output_tokens()) < 2 or not all(
        engine.count_output_tokens().values()
    ):
        run_step(engine)
    before = engine.count_output_tokens()
    engine.submit(engine_request("c", "yes"))
    runner.sliced.clear()

    while not runner.encoded[2:]:
        run_step(engine)

    after = engine.count_output_tokens()
    assert runner.sliced == ["c"] * num_slices
    assert {name: after[name] - before[name] for name in "ab"} == {
        "a": num_slices,
        "b": num_slices,
    }


def test_image_and_prompt_are_computed_in_separate_steps():
    runner = ScriptedRunner(num_slices=2)
    engine = create_engine(runner)
    engine.submit(engine_request("a", "yes"))

    steps = []
    for _ in range(3):
        run_step(engine)
        steps.append((len(runner.sliced), len(runner.forwards)))

    assert steps == [(1, 0), (2, 0), (2, 1)]


def test_image_of_a_cancelled_page_is_released():
    runner = ScriptedRunner(num_slices=3)
    engine = create_engine(runner)
    for name in "ab":
        engine.submit(engine_request(name, name * 5))
    run_step(engine)
    assert runner.held == {"a"}

    engine.cancel("a")

    assert runner.held == set()
    assert run_engine(engine)["b"].text == "bbbbb"
    assert is_memory_free(runner, engine)


def test_page_without_memory_for_a_slice_fails_alone():
    runner = ScriptedRunner(num_slices=3)
    engine = create_engine(runner)
    for name in "ab":
        engine.submit(engine_request(name, name * 5))
    run_step(engine)
    runner.out_of_memory = {"a"}

    ended = run_engine(engine)

    assert ended["a"].error.code == "out_of_memory"
    assert ended["b"].text == "bbbbb"
    assert is_memory_free(runner, engine)


def test_page_preempted_during_encoding_is_encoded_again():
    runner = ScriptedRunner(num_cache_positions=40, num_slices=20)
    engine = create_engine(runner)

    ended = run_engine(
        engine, [engine_request("a", "a" * 25), engine_request("b", "b")]
    )

    assert texts(ended) == {"a": "a" * 25, "b": "b"}
    assert runner.sliced.count("b") > 20, (
        "no page was preempted, so the test shows nothing"
    )
    assert is_memory_free(runner, engine)


def test_preemption_does_not_change_outputs():
    answers = {name: name * 40 for name in "abcd"}
    runner = ScriptedRunner(num_cache_positions=100)
    engine = create_engine(runner)

    ended = run_engine(engine, [engine_request(n, answers[n]) for n in answers])

    assert texts(ended) == answers
    assert len(runner.encoded) > 4, "no page was preempted, so the test shows nothing"
    assert is_memory_free(runner, engine)


def test_page_longer_than_the_cache_fails_alone():
    runner = ScriptedRunner(num_cache_positions=50)

    ended = run_engine(
        create_engine(runner),
        [engine_request("a", "yes"), engine_request("b", "no", prompt=60)],
    )

    assert ended["a"].text == "yes"
    assert ended["b"].finish_reason is FinishReason.ERROR
    assert ended["b"].error.code == "out_of_memory"
    assert "60 tokens" in ended["b"].error.detail


def test_output_longer_than_the_cache_is_cut_off():
    runner = ScriptedRunner(num_cache_positions=30)

    ended = run_engine(
        create_engine(runner), [engine_request("a", "x" * 50, prompt=10)]
    )

    assert ended["a"].text == "x" * 20
    assert ended["a"].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("num_steps", [0, 1, 5])
def test_cancelled_page_leaves_and_others_continue(num_steps):
    runner = ScriptedRunner()
    engine = create_engine(runner)
    for name in "ab":
        engine.submit(engine_request(name, name * 20))
    for _ in range(num_steps):
        run_step(engine)

    engine.cancel("a")
    ended = run_engine(engine)

    assert ended["a"].finish_reason is FinishReason.ABORTED
    assert ended["b"].text == "b" * 20
    assert is_memory_free(runner, engine)


def test_cancelling_an_unknown_or_ended_page_does_nothing():
    engine = create_engine(ScriptedRunner())
    run_engine(engine, [engine_request("a", "yes")])

    engine.cancel("a")
    engine.cancel("b")

    assert not engine.has_work


def test_page_that_runs_out_of_memory_fails_alone():
    runner = ScriptedRunner()
    runner.out_of_memory = {"b"}

    ended = run_engine(
        create_engine(runner), [engine_request(name, name * 5) for name in "abc"]
    )

    assert ended["b"].finish_reason is FinishReason.ERROR
    assert ended["b"].error.code == "out_of_memory"
    assert {ended[name].text for name in "ac"} == {"aaaaa", "ccccc"}


def test_progress_is_the_output_tokens_of_running_pages():
    engine = create_engine(ScriptedRunner(), max_running_pages=1)
    engine.submit(engine_request("a", "x" * 9))
    engine.submit(engine_request("b", "x"))
    run_step(engine)  # Encodes the image.
    for _ in range(3):
        run_step(engine)

    assert engine.count_output_tokens() == {"a": 3}


def test_page_with_a_too_long_prompt_fails_alone():
    runner = ScriptedRunner(num_cache_positions=200)
    runner.too_long.add("a")

    ended = run_engine(
        create_engine(runner), [engine_request("a", "x"), engine_request("b", "Fine.")]
    )

    assert ended["a"].error.code == "invalid_option"
    assert ended["b"].text == "Fine."


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_random_events_lose_no_page_and_no_memory(seed):
    rng = random.Random(seed)
    runner = ScriptedRunner(rng.randint(60, 300), num_slices=rng.randint(1, 4))
    engine = create_engine(
        runner,
        acceptance=rng.choice([None, 0.0, 0.6, 1.0]),
        max_running_pages=rng.randint(1, 8),
        max_prefill_tokens=rng.randint(1, 40),
        expected_output_tokens=rng.randint(0, 20),
        max_draft_tokens=rng.randint(0, 5),
    )
    answers: dict[str, str] = {}
    ended: dict[str, EngineOutput] = {}
    cancelled = set()
    for number in range(400):
        name = str(number)
        if number < 250 and rng.random() < 0.2:
            answers[name] = "".join(rng.choices("abc", k=rng.randint(0, 25)))
            prompt = rng.randint(2, 25)
            if rng.random() < 0.1:
                runner.out_of_memory.add(name)
            engine.submit(engine_request(name, answers[name], prompt=prompt))
        if answers and rng.random() < 0.05:
            gone = rng.choice(list(answers))
            if gone not in ended:
                cancelled.add(gone)
            engine.cancel(gone)
        for output in run_step(engine) if engine.has_work else []:
            assert output.engine_request_id not in ended
            ended[output.engine_request_id] = output
    ended |= run_engine(engine)

    assert set(ended) == set(answers)
    assert is_memory_free(runner, engine)
    for name, output in ended.items():
        if output.finish_reason is FinishReason.STOP:
            assert output.text == answers[name]
        elif output.finish_reason is FinishReason.ABORTED:
            assert name in cancelled
        else:
            assert name in runner.out_of_memory


class RecordingTimer(StepTimer):
    """Timer that records the forward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards: list[tuple[StepKind, int]] = []

    def start(self, kind: StepKind, size: int = 1) -> None:
        if kind is not StepKind.SCHEDULE:
            self.forwards.append((kind, size))
        super().start(kind, size)


def test_each_forward_is_timed_with_its_kind_and_tokens():
    timer = RecordingTimer()
    runner = ScriptedRunner()
    native = NativeEngine(runner, BatchingOptions(max_prefill_tokens=16), steps=timer)

    run_engine(native, [engine_request("a", "ok", prompt=40)])

    assert timer.forwards == [
        (StepKind.ENCODE, 40),
        (StepKind.PREFILL, 16),
        (StepKind.PREFILL, 16),
        (StepKind.PREFILL, 8),
        (StepKind.DECODE, 1),
        (StepKind.DECODE, 1),
    ]
