"""Retries of pages on which the model repeats itself, and the best attempt."""

from __future__ import annotations

from hypothesis import given, strategies as st

from handler.engine.batching.attempts import RETRIES, PageAttempt, PageAttempts
from handler.engine.batching.repetition import find_repetition
from handler.engine.request import GREEDY, FinishReason, Sampling, choose_sampling
from handler.profiles import PROFILES

CLEAN = PageAttempt("<p>All of it.</p>", FinishReason.STOP, 8, None)


def repeated_attempt(text: str, repeats_at: int) -> PageAttempt:
    return PageAttempt(text, FinishReason.REPETITION, 300, repeats_at)


def list_temperatures(profile: str, *, max_attempts: int) -> list[float]:
    attempts = PageAttempts(RETRIES[profile], max_attempts=max_attempts)
    temperatures = []
    while not attempts.is_over:
        temperatures.append(attempts.sampling.temperature)
        attempts.add(repeated_attempt("loop", 0))
    return temperatures


def test_every_profile_has_retries():
    assert set(RETRIES) == set(PROFILES)
    assert all(RETRIES.values())


def test_first_attempt_is_greedy():
    for retries in RETRIES.values():
        assert PageAttempts(retries, max_attempts=3).sampling == GREEDY


def test_retries_of_chandra_have_one_temperature():
    assert list_temperatures("chandra", max_attempts=4) == [0.0, 0.3, 0.3, 0.3]


def test_retries_of_chandra_2_have_rising_temperatures():
    hotter = [0.0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8]

    assert list_temperatures("chandra-2", max_attempts=7) == hotter


def test_retries_limit_top_p():
    for retries in RETRIES.values():
        assert {sampling.top_p for sampling in retries} == {0.95}


def test_clean_attempt_is_the_last():
    attempts = PageAttempts(RETRIES["chandra"], max_attempts=3)

    attempts.add(CLEAN)

    assert attempts.is_over
    assert attempts.best is CLEAN
    assert attempts.num_attempts == 1


def test_single_attempt_counts_even_if_it_repeats_itself():
    attempts = PageAttempts(RETRIES["chandra"], max_attempts=1)
    only = repeated_attempt("loop", 0)

    attempts.add(only)

    assert attempts.is_over
    assert attempts.best is only


def test_clean_attempt_is_preferred_to_a_longer_one():
    attempts = PageAttempts(RETRIES["chandra"], max_attempts=3)

    attempts.add(repeated_attempt("x" * 5000, 4000))
    attempts.add(CLEAN)

    assert attempts.is_over
    assert attempts.best is CLEAN


def test_attempt_with_most_text_before_its_loop_is_preferred():
    attempts = PageAttempts(RETRIES["chandra"], max_attempts=3)
    longer_loop, more_text, less_text = (
        repeated_attempt("a" * 9000, 100),
        repeated_attempt("b" * 2000, 900),
        repeated_attempt("c" * 1500, 800),
    )

    for attempt in (longer_loop, more_text, less_text):
        attempts.add(attempt)

    assert attempts.is_over
    assert attempts.best is more_text


def test_best_attempt_keeps_its_repetition():
    text = "A heading. " + "The same sentence again. " * 100
    attempts = PageAttempts(RETRIES["chandra"], max_attempts=1)

    attempts.add(
        PageAttempt(text, FinishReason.REPETITION, 600, find_repetition(text)),
    )

    assert attempts.best.text == text
    assert not attempts.best.is_clean


def test_first_of_equal_attempts_is_preferred():
    attempts = PageAttempts(RETRIES["chandra"], max_attempts=2)
    greedy, drawn = repeated_attempt("one", 0), repeated_attempt("two", 0)

    attempts.add(greedy)
    attempts.add(drawn)

    assert attempts.best is greedy


@given(st.lists(st.none() | st.integers(0, 50), min_size=1), st.integers(1, 8))
def test_attempts_end_with_a_clean_one_or_at_the_limit(starts, max_attempts):
    attempts = PageAttempts((Sampling(0.5),), max_attempts=max_attempts)
    made = []

    for start in starts:
        if attempts.is_over:
            break
        made.append(PageAttempt("x" * 50, FinishReason.STOP, 50, start))
        attempts.add(made[-1])

    assert attempts.num_attempts == len(made) <= max_attempts
    assert all(not attempt.is_clean for attempt in made[:-1])
    assert attempts.best in made
    assert attempts.best.is_clean == made[-1].is_clean


def test_retries_are_never_cooler_than_the_first_attempt():
    attempts = PageAttempts(
        RETRIES["chandra-2"], max_attempts=9, first=choose_sampling(0.5)
    )
    temperatures = []
    while not attempts.is_over:
        temperatures.append(attempts.sampling.temperature)
        attempts.add(repeated_attempt("loop", 0))

    assert temperatures == [0.5, 0.5, 0.5, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8]


def test_very_low_temperature_is_greedy():
    assert choose_sampling(0.0) == choose_sampling(1e-300) == GREEDY
    assert choose_sampling(0.01).temperature == 0.01
