"""Reaction of the native engine to a step that runs out of memory."""

from __future__ import annotations

import random
from typing import Any

import pytest

from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.request import EngineOutput, EngineRequest, FinishReason
from handler.errors import OutOfMemoryError
from tests.handler.engine.scripted import ScriptedRunner, engine_request

ANSWERS = {name: f"the answer of {name} " * 3 for name in "abcd"}


class Drafts:
    """Drafts of which 80 % of the tokens are correct."""

    def __init__(self, script: str) -> None:
        self.script = [*script.encode(), 0]
        self.rng = random.Random(1)
        self.output_tokens: list[int] = []

    def extend(self, tokens: list[int]) -> None:
        self.output_tokens += tokens

    def draft(self, max_tokens: int) -> list[int]:
        following = self.script[
            len(self.output_tokens) : len(self.output_tokens) + max_tokens
        ]
        return [t if self.rng.random() < 0.8 else 63 for t in following]

    def reset(self) -> None:
        self.output_tokens = []


def create_failing_runner(*calls: tuple[str, int], smaller: int | None = 200) -> Any:
    runner = ScriptedRunner(num_cache_positions=400)
    runner.failing = set(calls)
    runner.smaller_caches = [smaller, 10]
    return runner


def create_engine(
    runner: ScriptedRunner, *, max_drafts: int = 0, **options: Any
) -> Any:
    def create_drafter(page: EngineRequest) -> Drafts | None:
        return Drafts(page.prompt) if max_drafts else None

    options = {"expected_output_tokens": 0, "max_draft_tokens": max_drafts} | options
    return NativeEngine(
        runner, BatchingOptions(**options), create_drafter=create_drafter
    )


def submit_pages(engine: Any, answers: dict[str, str]) -> None:
    for name, answer in answers.items():
        engine.submit(engine_request(name, answer))


def run_engine(engine: Any) -> dict[str, EngineOutput]:
    ended: dict[str, EngineOutput] = {}
    for _ in range(10_000):
        if not engine.has_work:
            return ended
        for output in engine.step(lambda: None):
            assert output.engine_request_id not in ended
            ended[output.engine_request_id] = output
    raise AssertionError("the pages do not end")


def texts(ended: dict[str, EngineOutput]) -> dict[str, str]:
    return {name: output.text for name, output in ended.items()}


@pytest.mark.parametrize("max_drafts", [0, 4])
@pytest.mark.parametrize(
    "call", [("encode", 0), ("encode", 2), ("prefill", 5), ("decode", 0), ("decode", 9)]
)
def test_outputs_do_not_change_after_a_shortage(call, max_drafts):
    runner = create_failing_runner(call)
    engine = create_engine(runner, max_drafts=max_drafts, max_prefill_tokens=7)
    submit_pages(engine, ANSWERS)

    ended = run_engine(engine)

    assert runner.calls[call[0]] > call[1], "no call failed, so the test shows nothing"
    assert texts(ended) == ANSWERS
    assert runner.num_cache_positions == 200
    assert engine.num_free_positions == 200


@pytest.mark.parametrize("number", [0, 2])
def test_submit_without_memory_shrinks_the_cache(number):
    runner = create_failing_runner(("tokenise", number))
    engine = create_engine(runner)
    answers = dict(ANSWERS)
    submit_pages(engine, {"a": answers["a"], "b": answers["b"]})
    engine.step(lambda: None)
    submit_pages(engine, {"c": answers["c"], "d": answers["d"]})

    assert texts(run_engine(engine)) == ANSWERS
    assert runner.num_cache_positions == 200


def test_page_that_cannot_be_submitted_fails_alone():
    runner = create_failing_runner(("tokenise", 1), ("tokenise", 2))
    engine = create_engine(runner)
    submit_pages(engine, ANSWERS)

    ended = run_engine(engine)

    assert ended["b"].error is not None
    assert ended["b"].error.code == "out_of_memory"
    assert texts(ended) == ANSWERS | {"b": ""}


def test_a_move_without_memory_restarts_all_pages():
    runner = create_failing_runner(("move", 0))
    engine = create_engine(runner)
    answers = {name: name * 90 for name in "abc"}
    submit_pages(engine, answers)

    ended = run_engine(engine)

    assert runner.calls["move"] > 0, "nothing moved, so the test shows nothing"
    assert texts(ended) == answers
    assert runner.num_cache_positions == 200


def test_a_second_move_without_memory_raises():
    runner = create_failing_runner(("move", 0), ("move", 1), smaller=350)
    engine = create_engine(runner)
    submit_pages(engine, {name: name * 20 * n for n, name in enumerate("abcdefg", 1)})

    with pytest.raises(OutOfMemoryError):
        run_engine(engine)


@pytest.mark.parametrize("call", ["encode", "prefill", "decode"])
def test_a_second_shortage_fails_one_page(call):
    runner = create_failing_runner((call, 1), (call, 3))
    engine = create_engine(runner)
    submit_pages(engine, ANSWERS)

    ended = run_engine(engine)

    failed = [
        output
        for output in ended.values()
        if output.finish_reason is FinishReason.ERROR
    ]
    assert [output.error.code for output in failed if output.error] == ["out_of_memory"]
    assert runner.num_cache_positions == 200
    other_texts = {
        n: output.text for n, output in ended.items() if output not in failed
    }
    assert other_texts == {name: ANSWERS[name] for name in other_texts}


def test_a_page_fails_if_the_cache_cannot_shrink():
    runner = create_failing_runner(("decode", 2), smaller=None)
    engine = create_engine(runner)
    submit_pages(engine, ANSWERS)

    ended = run_engine(engine)

    reasons = [output.finish_reason for output in ended.values()]
    assert reasons.count(FinishReason.ERROR) == 1
    assert runner.num_cache_positions == 400


def test_a_prompt_too_long_for_the_smaller_cache_fails():
    runner = create_failing_runner(("decode", 1))
    engine = create_engine(runner)
    engine.submit(engine_request("long", "yes", prompt=250))
    engine.submit(engine_request("short", "no" * 9))

    ended = run_engine(engine)

    assert ended["short"].text == "no" * 9
    assert ended["long"].error is not None
    assert ended["long"].error.code == "out_of_memory"
    assert "250 tokens does not fit into a cache of 200" in ended["long"].error.detail


@pytest.mark.parametrize("num_tokens", [5, 150, 230])
def test_output_is_cut_off_at_the_smaller_cache(num_tokens):
    runner = create_failing_runner(("decode", num_tokens))
    engine = create_engine(runner)
    engine.submit(engine_request("a", "x" * 300, prompt=40))

    [ended] = run_engine(engine).values()

    assert ended.text == "x" * 160
    assert ended.finish_reason is FinishReason.LENGTH


def test_a_shrunk_cache_is_logged_with_its_sizes(caplog):
    engine = create_engine(create_failing_runner(("decode", 3)))
    submit_pages(engine, ANSWERS)

    run_engine(engine)

    [record] = [r for r in caplog.records if "cache shrunk" in r.message]
    assert (record.tokens_before, record.tokens_after) == (400, 200)
    assert record.preempted_pages == 4


@pytest.mark.parametrize("seed", range(30))
def test_random_pages_survive_a_random_shortage(seed):
    rng = random.Random(seed)
    runner = create_failing_runner(
        (rng.choice(["encode", "prefill", "decode", "move"]), rng.randint(0, 60)),
        smaller=rng.randint(120, 300),
    )
    answers = {str(n): "abc"[n % 3] * rng.randint(1, 90) for n in range(12)}
    engine = create_engine(
        runner,
        max_drafts=rng.choice([0, 3]),
        max_running_pages=rng.randint(1, 6),
        max_prefill_tokens=rng.randint(1, 40),
    )
    submit_pages(engine, answers)

    ended = run_engine(engine)

    assert texts(ended) == answers
    assert engine.num_free_positions == runner.num_cache_positions
