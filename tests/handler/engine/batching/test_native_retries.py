"""Retries and sampling of the native engine, over a scripted model."""

from __future__ import annotations

from dataclasses import replace

from handler.engine.request import FinishReason, Sampling
from tests.handler.engine.batching.native_engine import (
    create_engine,
    run_engine,
)
from tests.handler.engine.scripted import ScriptedRunner, engine_request

LOOP = "and so on " * 300


HOT_RETRIES = (Sampling(0.3, 0.95),)


def test_clean_retry_of_a_repeated_page_counts():
    runner = ScriptedRunner(num_cache_positions=5000)
    page = engine_request("a", f"{LOOP}|The end.", max_output_tokens=3000)

    ended = run_engine(create_engine(runner, retries=HOT_RETRIES), [page])

    assert ended["a"].text == "The end."
    assert ended["a"].finish_reason is FinishReason.STOP
    assert ended["a"].num_attempts == 2
    assert not ended["a"].has_repetition
    # The loop is found early, and the prompt is not computed again.
    assert sum(map(sum, runner.forwards)) < 1500
    assert len([forward for forward in runner.forwards if forward == [10]]) == 1


def test_page_that_always_repeats_itself_is_marked():
    runner = ScriptedRunner(num_cache_positions=5000)
    page = engine_request("a", LOOP, max_output_tokens=3000)

    ended = run_engine(
        create_engine(runner, retries=HOT_RETRIES, max_attempts=3), [page]
    )

    assert ended["a"].text.startswith("and so on and so on")
    assert ended["a"].finish_reason is FinishReason.REPETITION
    assert ended["a"].num_attempts == 3
    assert ended["a"].has_repetition


def test_each_request_has_its_own_temperature_and_attempts():
    runner = ScriptedRunner(num_cache_positions=9000)
    script = f"{LOOP}|{'The end. ' * 3}"
    cool = replace(engine_request("cool", "Once.|Never."), temperature=0.0)
    hot = replace(engine_request("hot", script), temperature=0.7)
    once = replace(
        engine_request("once", script, max_output_tokens=3000), max_attempts=1
    )
    twice = replace(
        engine_request("twice", script, max_output_tokens=3000), max_attempts=2
    )

    engine = create_engine(
        runner, retries=HOT_RETRIES, max_attempts=1, acceptance=1.0, max_draft_tokens=4
    )
    ended = run_engine(engine, [cool, hot, once, twice])

    assert ended["cool"].text == "Once."
    assert ended["hot"].text == ended["twice"].text == "The end. " * 3
    assert ended["once"].has_repetition
    attempts = {name: output.num_attempts for name, output in ended.items()}
    assert attempts == {"cool": 1, "hot": 1, "once": 1, "twice": 2}
    # Draft tokens are verified against the most likely token.
    assert ended["hot"].num_drafted_tokens == 0 < ended["once"].num_drafted_tokens


def test_sampled_tokens_have_no_drafts():
    runner = ScriptedRunner(num_cache_positions=5000)
    page = engine_request("a", f"{LOOP}|{'The end. ' * 3}", max_output_tokens=3000)

    ended = run_engine(
        create_engine(runner, retries=HOT_RETRIES, acceptance=1.0, max_draft_tokens=4),
        [page],
    )

    assert ended["a"].text == "The end. " * 3
    assert runner.forwards[-20:] == [[1]] * 20
