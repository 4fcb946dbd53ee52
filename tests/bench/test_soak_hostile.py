"""Latency test with hostile clients: its answers and documents."""

from __future__ import annotations

import math

import pytest

from bench.soak.bombs import BOMBS, nested_forms
from bench.soak.hostile import TimedAnswers
from handler import preprocess
from handler.processes.pool import CallContext, CallTimeoutError, Pool
from handler.profiles import PROFILES
from tests.documents import spooled

PDF = "application/pdf"


@pytest.fixture
def pool():
    pool = Pool(1)
    yield pool
    pool.close()


def test_answers_are_selected_by_their_send_time():
    answers = TimedAnswers([(0.0, 9.0, 503), (5.0, 1.0, 200), (6.0, 3.0, 200)])

    later = answers.since(5.0)

    assert answers.statuses == {"503": 1, "200": 2}
    assert (later.median_seconds, later.worst_seconds) == (2.0, 3.0)
    assert (answers.are_all(200), later.are_all(200)) == (False, True)


def test_an_empty_period_has_no_good_answers():
    assert not TimedAnswers().are_all(200)


def test_another_name_gives_another_document():
    assert nested_forms(1, "a") != nested_forms(1, "b")


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_opens_at_once_and_keeps_a_decoder_busy(pool, bomb):
    limits, sizing = preprocess.Limits(), PROFILES["mini"].sizing

    with spooled(bomb(3, "name")) as path:
        info = pool.call(20, preprocess.inspect_document, path, PDF, limits)
        with pytest.raises(CallTimeoutError) as caught:
            pool.call_restartable(
                CallContext(),
                math.inf,
                1,
                preprocess.decode_page,
                path,
                PDF,
                3,
                sizing,
                limits,
            )

    assert info.num_pages == 3
    assert type(caught.value) is CallTimeoutError
