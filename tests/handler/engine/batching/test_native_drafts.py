"""Speculative decoding of the native engine, over a scripted model."""

from __future__ import annotations

import pytest

from handler.engine.batching.native import BatchingOptions, NativeEngine
from handler.engine.request import FinishReason
from tests.handler.engine.batching.native_engine import (
    FixedDrafts,
    create_engine,
    run_engine,
    texts,
)
from tests.handler.engine.scripted import ScriptedRunner, engine_request


@pytest.mark.parametrize("acceptance", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("num_drafts", [1, 4, 9])
def test_drafts_do_not_change_the_output(acceptance, num_drafts):
    answers = {name: f"the answer of {name} " * 3 for name in "abc"}
    engine = create_engine(
        ScriptedRunner(), acceptance=acceptance, max_draft_tokens=num_drafts
    )

    ended = run_engine(engine, [engine_request(n, answers[n]) for n in answers])

    assert texts(ended) == answers
    assert {output.finish_reason for output in ended.values()} == {FinishReason.STOP}


def test_accepted_drafts_save_forwards():
    runner = ScriptedRunner()
    page = engine_request("a", "x" * 50)

    run_engine(create_engine(runner, acceptance=1.0, max_draft_tokens=4), [page])

    # The prefill computes one token, and each further forward five.
    assert len(runner.forwards) == 1 + 10


def test_limit_holds_within_an_accepted_draft():
    page = engine_request("a", "x" * 50, max_output_tokens=8)

    ended = run_engine(
        create_engine(ScriptedRunner(), acceptance=1.0, max_draft_tokens=5), [page]
    )

    assert ended["a"].text == "x" * 8
    assert ended["a"].finish_reason is FinishReason.LENGTH


def test_more_pages_have_fewer_drafts_each():
    runner = ScriptedRunner()
    pages = [engine_request(name, "x" * 20) for name in "abcdefgh"]

    run_engine(
        create_engine(
            runner, acceptance=1.0, max_draft_tokens=8, max_verified_tokens=16
        ),
        pages,
    )

    decodes = [forward for forward in runner.forwards if len(forward) > 1]
    assert max(map(sum, decodes)) <= 16


def test_drafting_stops_if_drafts_are_always_rejected():
    runner = ScriptedRunner()

    run_engine(
        create_engine(runner, acceptance=0.0, max_draft_tokens=8),
        [engine_request("a", "x" * 200)],
    )

    assert [8 + 1] in runner.forwards[:5]
    assert all(forward <= [2] for forward in runner.forwards[-100:])


def test_output_has_the_number_of_accepted_drafts():
    page = engine_request("a", "x" * 50)

    ended = run_engine(
        create_engine(ScriptedRunner(), acceptance=1.0, max_draft_tokens=4), [page]
    )

    assert ended["a"].num_forwards == 1 + 10
    assert ended["a"].num_drafted_tokens == 10 * 4
    assert ended["a"].num_accepted_tokens == 10 * 4


def test_without_drafts_each_token_takes_a_forward():
    ended = run_engine(create_engine(ScriptedRunner()), [engine_request("a", "hello")])

    # The sixth token is the stop token.
    assert ended["a"].num_forwards == 6
    assert ended["a"].num_drafted_tokens == 0


def test_drafting_resumes_when_drafts_are_accepted_again():
    class Improving(FixedDrafts):
        def draft(self, max_tokens: int) -> list[int]:
            self.acceptance = float(len(self.output_tokens) > 100)
            return super().draft(max_tokens)

    runner = ScriptedRunner()
    improving = NativeEngine(
        runner,
        BatchingOptions(expected_output_tokens=0, max_draft_tokens=8),
        create_drafter=lambda page: Improving(page.prompt),
    )

    run_engine(improving, [engine_request("a", "x" * 900)])

    assert [8 + 1] in runner.forwards[-5:]
