"""The native engine over a scripted model: joining, leaving, preemption, drafts."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from handler.engine.batching.native import NativeEngine, Options
from handler.engine.request import EngineOutput, EngineRequest, FinishReason, Sampling
from handler.engine.steps import StepKind, StepTimer
from tests.handler.engine.scripted import ScriptedRunner, engine_request


class FixedDrafts:
    """Drafts that are right with a chance of `luck`."""

    def __init__(self, script: str, luck: float = 1.0, seed: int = 0) -> None:
        self.script = [*script.encode(), 0]
        self.luck = luck
        self.rng = random.Random(seed)
        self.said: list[int] = []

    def extend(self, tokens: list[int]) -> None:
        self.said += tokens

    def draft(self, max_tokens: int) -> list[int]:
        following = self.script[len(self.said) : len(self.said) + max_tokens]
        return [t if self.rng.random() < self.luck else 63 for t in following]

    def reset(self) -> None:
        self.said = []


def engine(runner: ScriptedRunner, *, luck: float | None = None, **options: Any) -> Any:
    def create_drafter(page: EngineRequest) -> FixedDrafts | None:
        return None if luck is None else FixedDrafts(page.prompt, luck)

    options = {"expected_output_tokens": 0, "max_draft_tokens": 0} | options
    return NativeEngine(runner, Options(**options), create_drafter=create_drafter)


def step(engine) -> Any:
    return engine.step(lambda: None)


def run(engine, pages: Iterable[EngineRequest] = ()) -> dict[str, Any]:
    for page in pages:
        engine.submit(page)
    ended = {}
    while engine.has_work:
        for output in step(engine):
            assert output.engine_request_id not in ended
            ended[output.engine_request_id] = output
    return ended


def texts(ended: dict[str, EngineOutput]) -> dict[str, str]:
    return {name: output.text for name, output in ended.items()}


def is_whole(runner, engine) -> Any:
    is_cache_free = engine._scheduler._pool.num_free == runner.num_cache_positions
    return is_cache_free and not runner.held


def test_a_page_ends_after_its_answer():
    [output] = run(engine(ScriptedRunner()), [engine_request("a", "hello")]).values()

    assert output.text == "hello"
    assert output.finish_reason is FinishReason.STOP
    assert output.num_output_tokens == 5


def test_an_answer_ends_at_its_limit():
    page = engine_request("a", "hello", max_output_tokens=3)

    [output] = run(engine(ScriptedRunner()), [page]).values()

    assert (output.text, output.finish_reason) == ("hel", FinishReason.LENGTH)


def test_an_answer_as_long_as_its_limit_is_cut_off_like_generates():
    page = engine_request("a", "hello", max_output_tokens=5)

    [output] = run(engine(ScriptedRunner()), [page]).values()

    assert (output.text, output.finish_reason) == ("hello", FinishReason.LENGTH)


def test_pages_of_any_length_run_together():
    answers = {name: name * (7 * i + 1) for i, name in enumerate("abcdefgh")}
    runner = ScriptedRunner()

    ended = run(engine(runner), [engine_request(n, answers[n]) for n in answers])

    assert texts(ended) == answers
    # The longest answer's forwards, and for each page an encoding and a prefill.
    assert len(runner.forwards) <= len(answers["h"]) + 3 * len(answers)


def test_a_page_joins_while_others_are_half_way():
    runner = ScriptedRunner()
    running = engine(runner)
    running.submit(engine_request("long", "x" * 50))
    for _ in range(10):
        step(running)
    running.submit(engine_request("short", "hi"))

    ended: list[str] = []
    while running.has_work:
        ended += [output.engine_request_id for output in step(running)]

    assert ended == ["short", "long"]


def test_a_prompt_is_computed_in_chunks_between_the_tokens_of_others():
    runner = ScriptedRunner()
    running = engine(runner, max_prefill_tokens=7)
    running.submit(engine_request("a", "x" * 30, prompt=3))
    step(running)
    runner.forwards.clear()

    ended = run(running, [engine_request("b", "yes", prompt=40)])

    assert texts(ended) == {"a": "x" * 30, "b": "yes"}
    assert [7] in runner.forwards
    assert max(sum(forward) for forward in runner.forwards) <= 7


@pytest.mark.parametrize("num_slices", [1, 5])
def test_pages_decode_between_the_slices_of_an_image(num_slices):
    runner = ScriptedRunner(num_slices=num_slices)
    running = engine(runner)
    for name in "ab":
        running.submit(engine_request(name, name * 50))
    while len(running.num_output_tokens()) < 2 or not all(
        running.num_output_tokens().values()
    ):
        step(running)
    before = running.num_output_tokens()
    running.submit(engine_request("c", "yes"))
    runner.sliced.clear()

    while not runner.encoded[2:]:
        step(running)

    after = running.num_output_tokens()
    assert runner.sliced == ["c"] * num_slices
    assert {name: after[name] - before[name] for name in "ab"} == {
        "a": num_slices,
        "b": num_slices,
    }


def test_an_image_and_its_prompt_are_not_computed_in_one_step():
    runner = ScriptedRunner(num_slices=2)
    running = engine(runner)
    running.submit(engine_request("a", "yes"))

    steps = []
    for _ in range(3):
        step(running)
        steps.append((len(runner.sliced), len(runner.forwards)))

    assert steps == [(1, 0), (2, 0), (2, 1)]


def test_a_page_cancelled_while_it_is_encoded_is_released():
    runner = ScriptedRunner(num_slices=3)
    running = engine(runner)
    for name in "ab":
        running.submit(engine_request(name, name * 5))
    step(running)
    assert runner.held == {"a"}

    running.cancel("a")

    assert runner.held == set()
    assert run(running)["b"].text == "bbbbb"
    assert is_whole(runner, running)


def test_a_page_without_memory_for_a_slice_fails_alone():
    runner = ScriptedRunner(num_slices=3)
    running = engine(runner)
    for name in "ab":
        running.submit(engine_request(name, name * 5))
    step(running)
    runner.out_of_memory = {"a"}

    ended = run(running)

    assert ended["a"].error.code == "out_of_memory"
    assert ended["b"].text == "bbbbb"
    assert is_whole(runner, running)


def test_a_page_preempted_while_it_is_encoded_begins_again():
    runner = ScriptedRunner(num_cache_positions=40, num_slices=20)
    running = engine(runner)

    ended = run(running, [engine_request("a", "a" * 25), engine_request("b", "b")])

    assert texts(ended) == {"a": "a" * 25, "b": "b"}
    assert runner.sliced.count("b") > 20, "it did not give way, so this shows nothing"
    assert is_whole(runner, running)


@pytest.mark.parametrize("luck", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("num_drafts", [1, 4, 9])
def test_drafts_do_not_change_an_answer(luck, num_drafts):
    answers = {name: f"the answer of {name} " * 3 for name in "abc"}
    running = engine(ScriptedRunner(), luck=luck, max_draft_tokens=num_drafts)

    ended = run(running, [engine_request(n, answers[n]) for n in answers])

    assert texts(ended) == answers
    assert {g.finish_reason for g in ended.values()} == {FinishReason.STOP}


def test_accepted_drafts_save_forwards():
    runner = ScriptedRunner()
    page = engine_request("a", "x" * 50)

    run(engine(runner, luck=1.0, max_draft_tokens=4), [page])

    # The prefill says one token; five more come of each forward.
    assert len(runner.forwards) == 1 + 10


def test_a_limit_holds_in_the_middle_of_a_right_draft():
    page = engine_request("a", "x" * 50, max_output_tokens=8)

    ended = run(engine(ScriptedRunner(), luck=1.0, max_draft_tokens=5), [page])

    assert ended["a"].text == "x" * 8
    assert ended["a"].finish_reason is FinishReason.LENGTH


def test_more_pages_leave_fewer_drafts_for_each():
    runner = ScriptedRunner()
    pages = [engine_request(name, "x" * 20) for name in "abcdefgh"]

    run(engine(runner, luck=1.0, max_draft_tokens=8, max_verified_tokens=16), pages)

    decodes = [forward for forward in runner.forwards if len(forward) > 1]
    assert max(map(sum, decodes)) <= 16


def test_drafts_that_are_never_right_are_given_up():
    runner = ScriptedRunner()

    run(engine(runner, luck=0.0, max_draft_tokens=8), [engine_request("a", "x" * 200)])

    assert [8 + 1] in runner.forwards[:5]
    assert all(forward <= [2] for forward in runner.forwards[-100:])


def test_when_memory_is_short_pages_give_way_and_say_the_same():
    answers = {name: name * 40 for name in "abcd"}
    runner = ScriptedRunner(num_cache_positions=100)
    running = engine(runner)

    ended = run(running, [engine_request(n, answers[n]) for n in answers])

    assert texts(ended) == answers
    assert len(runner.encoded) > 4, "no page was preempted, so this shows nothing"
    assert is_whole(runner, running)


def test_a_page_longer_than_the_cache_is_refused_alone():
    runner = ScriptedRunner(num_cache_positions=50)

    ended = run(
        engine(runner),
        [engine_request("a", "yes"), engine_request("b", "no", prompt=60)],
    )

    assert ended["a"].text == "yes"
    assert ended["b"].finish_reason is FinishReason.ERROR
    assert ended["b"].error.code == "out_of_memory"
    assert "60 tokens" in ended["b"].error.detail


def test_an_answer_longer_than_the_cache_is_cut_off_there():
    runner = ScriptedRunner(num_cache_positions=30)

    ended = run(engine(runner), [engine_request("a", "x" * 50, prompt=10)])

    assert ended["a"].text == "x" * 20
    assert ended["a"].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("num_steps", [0, 1, 5])
def test_a_cancelled_page_leaves_at_once_and_the_others_go_on(num_steps):
    runner = ScriptedRunner()
    running = engine(runner)
    for name in "ab":
        running.submit(engine_request(name, name * 20))
    for _ in range(num_steps):
        step(running)

    running.cancel("a")
    ended = run(running)

    assert ended["a"].finish_reason is FinishReason.ABORTED
    assert ended["b"].text == "b" * 20
    assert is_whole(runner, running)


def test_cancelling_what_is_unknown_or_has_ended_does_nothing():
    running = engine(ScriptedRunner())
    run(running, [engine_request("a", "yes")])

    running.cancel("a")
    running.cancel("b")

    assert not running.has_work


def test_a_page_that_takes_too_much_memory_fails_alone():
    runner = ScriptedRunner()
    runner.out_of_memory = {"b"}

    ended = run(engine(runner), [engine_request(name, name * 5) for name in "abc"])

    assert ended["b"].finish_reason is FinishReason.ERROR
    assert ended["b"].error.code == "out_of_memory"
    assert {ended[name].text for name in "ac"} == {"aaaaa", "ccccc"}


def test_progress_counts_the_tokens_of_pages_that_run():
    running = engine(ScriptedRunner(), max_sequences=1)
    running.submit(engine_request("a", "x" * 9))
    running.submit(engine_request("b", "x"))
    step(running)  # encodes the image
    for _ in range(3):
        step(running)

    assert running.num_output_tokens() == {"a": 3}


LOOP = "and so on " * 300
HOT = (Sampling(0.3, 0.95),)


def test_a_page_that_repeats_itself_is_read_again_and_the_clean_reading_counts():
    runner = ScriptedRunner(num_cache_positions=5000)
    page = engine_request("a", f"{LOOP}|The end.", max_output_tokens=3000)

    ended = run(engine(runner, retries=HOT), [page])

    assert ended["a"].text == "The end."
    assert ended["a"].finish_reason is FinishReason.STOP
    assert ended["a"].num_attempts == 2
    assert not ended["a"].has_repetition
    # A loop is noticed on the way, and the prompt is not computed again.
    assert sum(map(sum, runner.forwards)) < 1500
    assert len([forward for forward in runner.forwards if forward == [10]]) == 1


def test_a_page_that_repeats_itself_each_time_is_answered_and_says_so():
    runner = ScriptedRunner(num_cache_positions=5000)
    page = engine_request("a", LOOP, max_output_tokens=3000)

    ended = run(engine(runner, retries=HOT, max_attempts=3), [page])

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

    running = engine(runner, retries=HOT, max_attempts=1, luck=1.0, max_draft_tokens=4)
    ended = run(running, [cool, hot, once, twice])

    assert ended["cool"].text == "Once."
    assert ended["hot"].text == ended["twice"].text == "The end. " * 3
    assert ended["once"].has_repetition
    attempts = {name: found.num_attempts for name, found in ended.items()}
    assert attempts == {"cool": 1, "hot": 1, "once": 1, "twice": 2}
    # Drafts are verified against the likeliest token.
    assert ended["hot"].num_drafted_tokens == 0 < ended["once"].num_drafted_tokens


def test_a_page_whose_prompt_is_too_long_fails_alone():
    runner = ScriptedRunner(num_cache_positions=200)
    runner.too_long.add("a")

    ended = run(
        engine(runner), [engine_request("a", "x"), engine_request("b", "Fine.")]
    )

    assert ended["a"].error.code == "invalid_option"
    assert ended["b"].text == "Fine."


def test_sampled_tokens_have_no_drafts():
    runner = ScriptedRunner(num_cache_positions=5000)
    page = engine_request("a", f"{LOOP}|{'The end. ' * 3}", max_output_tokens=3000)

    ended = run(engine(runner, retries=HOT, luck=1.0, max_draft_tokens=4), [page])

    assert ended["a"].text == "The end. " * 3
    assert runner.forwards[-20:] == [[1]] * 20


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_thousands_of_random_events_leave_the_memory_whole(seed):
    rng = random.Random(seed)
    runner = ScriptedRunner(rng.randint(60, 300), num_slices=rng.randint(1, 4))
    running = engine(
        runner,
        luck=rng.choice([None, 0.0, 0.6, 1.0]),
        max_sequences=rng.randint(1, 8),
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
            running.submit(engine_request(name, answers[name], prompt=prompt))
        if answers and rng.random() < 0.05:
            gone = rng.choice(list(answers))
            if gone not in ended:
                cancelled.add(gone)
            running.cancel(gone)
        for output in step(running) if running.has_work else []:
            assert output.engine_request_id not in ended
            ended[output.engine_request_id] = output
    ended |= run(running)

    assert set(ended) == set(answers)
    assert is_whole(runner, running)
    for name, output in ended.items():
        if output.finish_reason is FinishReason.STOP:
            assert output.text == answers[name]
        elif output.finish_reason is FinishReason.ABORTED:
            assert name in cancelled
        else:
            assert name in runner.out_of_memory


def test_a_page_reports_its_accepted_drafts():
    page = engine_request("a", "x" * 50)

    ended = run(engine(ScriptedRunner(), luck=1.0, max_draft_tokens=4), [page])

    assert ended["a"].num_forwards == 1 + 10
    assert ended["a"].num_drafted_tokens == 10 * 4
    assert ended["a"].num_accepted_tokens == 10 * 4


def test_without_drafts_a_token_takes_a_forward():
    ended = run(engine(ScriptedRunner()), [engine_request("a", "hello")])

    # The sixth is the one that says stop.
    assert ended["a"].num_forwards == 6
    assert ended["a"].num_drafted_tokens == 0


def test_drafting_resumes_when_drafts_are_accepted_again():
    class Improving(FixedDrafts):
        def draft(self, max_tokens: int) -> list[int]:
            self.luck = float(len(self.said) > 100)
            return super().draft(max_tokens)

    runner = ScriptedRunner()
    improving = NativeEngine(
        runner,
        Options(expected_output_tokens=0, max_draft_tokens=8),
        create_drafter=lambda page: Improving(page.prompt),
    )

    run(improving, [engine_request("a", "x" * 900)])

    assert [8 + 1] in runner.forwards[-5:]


class RecordingTimer(StepTimer):
    """A timer that keeps the forward passes it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards: list[tuple[StepKind, int]] = []

    def start(self, kind: StepKind, size: int = 1) -> None:
        if kind is not StepKind.SCHEDULE:
            self.forwards.append((kind, size))
        super().start(kind, size)


def test_every_forward_is_announced_with_its_kind_and_tokens():
    timer = RecordingTimer()
    runner = ScriptedRunner()
    native = NativeEngine(runner, Options(max_prefill_tokens=16), steps=timer)

    run(native, [engine_request("a", "ok", prompt=40)])

    assert timer.forwards == [
        (StepKind.ENCODE, 40),
        (StepKind.PREFILL, 16),
        (StepKind.PREFILL, 16),
        (StepKind.PREFILL, 8),
        (StepKind.DECODE, 1),
        (StepKind.DECODE, 1),
    ]
