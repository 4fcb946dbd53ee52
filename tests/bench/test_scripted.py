"""Runner with predetermined answers."""

from __future__ import annotations

from bench.teacher_forcing.scripted import AnswerRunner
from handler.engine.batching.model_runner import Chunk, Row
from handler.engine.request import EngineRequest
from handler.schema import Page


def make_runner() -> AnswerRunner:
    return AnswerRunner({"a": [7, 8, 9]}, str, num_prompt_tokens=4)


def make_prompt(subject):
    return subject.tokenise(EngineRequest("a", "a", Page(1, 1, 1, 1, 1, b""), "", 9))


def test_the_first_token_follows_the_whole_prompt():
    subject = make_runner()
    prompt = make_prompt(subject)

    subject.prefill(Chunk(prompt, [], 0, 3, 0))
    token = subject.prefill(Chunk(prompt, [], 3, 1, 0))

    assert token == 7
    assert subject.num_forwards == 1


def test_answer_does_not_depend_on_drafts():
    subject = make_runner()

    tokens = subject.decode([Row(make_prompt(subject), [7, 8, 5, 5], 4, 0)])

    assert tokens == [[8, 9, *subject.stop_token_ids, *subject.stop_token_ids]]


def test_drafts_are_accepted_up_to_the_first_wrong_one():
    subject = make_runner()

    subject.decode([Row(make_prompt(subject), [7, 8, 5, 9], 4, 0)])

    assert (subject.num_drafted, subject.num_accepted) == (3, 1)
