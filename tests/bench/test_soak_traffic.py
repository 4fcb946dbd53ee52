"""Verdicts on answers, and recovery times."""

from __future__ import annotations

import httpx
import pytest

from bench.soak.serving import PingWatch
from bench.soak.traffic import (
    ATTRIBUTES,
    AnswerTally,
    JudgedAnswer,
    PageWithText,
    judge,
    render_pages,
)

OWN_PAGE = PageWithText(b"mine", "my text")
OTHER_PAGE = PageWithText(b"other", "another text")
OWN_LABEL = {ATTRIBUTES: "label=a;request_id=1"}


class Unreachable:
    """Server that answers no ping."""

    def ping(self) -> None:
        return None


def judge_answer(answer: httpx.Response) -> tuple[str, str | None]:
    return judge(answer, OWN_PAGE, "a", [OWN_PAGE, OTHER_PAGE])


def test_answer_with_own_text_and_label_counts_as_read():
    assert (
        judge_answer(httpx.Response(200, text="my text", headers=OWN_LABEL))[0]
        == "read"
    )


def test_misread_letter_is_not_crossed():
    assert (
        judge_answer(httpx.Response(200, text="my tezt", headers=OWN_LABEL))[0]
        == "read"
    )


def test_text_of_another_sample_is_crossed():
    answer = httpx.Response(200, text="another text", headers=OWN_LABEL)

    assert judge_answer(answer)[0] == "crossed"


def test_label_of_another_request_is_crossed():
    answer = httpx.Response(200, text="my text", headers={ATTRIBUTES: "label=b"})

    assert judge_answer(answer)[0] == "crossed"


@pytest.mark.parametrize(
    ("status", "headers", "verdict"),
    [
        (503, {"Retry-After": "10"}, "refused"),
        (503, {}, "no_retry_after"),
        (500, {}, "error"),
        (422, {}, "error"),
    ],
)
def test_verdict_of_an_error_depends_on_its_status(status, headers, verdict):
    answer = httpx.Response(status, json={"code": "overloaded"}, headers=headers)

    assert judge_answer(answer) == (verdict, "overloaded")


def test_tally_counts_all_but_read_and_refused_as_faults():
    tally = AnswerTally()
    for verdict in ("read", "refused", "crossed", "dropped", "no_retry_after"):
        tally.add(JudgedAnswer(verdict, 200, None, 0.1))

    assert tally.num_faults == 3


def test_pages_with_text_are_the_same_for_a_seed():
    first, second = render_pages("a", 2), render_pages("a", 2)

    assert [p.image.tobytes() for p in first] == [p.image.tobytes() for p in second]


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        ([(9.0, 503), (11.0, 200)], 0.0),
        ([(11.0, 503), (12.0, None), (13.0, 200)], 2.0),
        ([(11.0, 200), (12.0, 503)], None),
    ],
)
def test_recovery_ends_with_the_last_bad_ping(answers, seconds):
    watch = PingWatch(Unreachable())
    watch.answers = answers

    assert watch.seconds_until_ready(10.0) == seconds
