"""A page on which the model repeats itself is read again, and the best one counts."""

from __future__ import annotations

from hypothesis import given, strategies as st

from handler.engine.batching.attempts import RETRIES, Attempt, Attempts
from handler.engine.batching.repetition import find_repetition
from handler.engine.request import GREEDY, FinishReason, Sampling, sampling_at
from handler.profiles import PROFILES

CLEAN = Attempt("<p>All of it.</p>", FinishReason.STOP, 8, None)


def looping(text: str, repeats_at: int) -> Attempt:
    return Attempt(text, FinishReason.REPETITION, 300, repeats_at)


def temperatures_of(profile: str, *, max_attempts: int) -> list[float]:
    attempts = Attempts(RETRIES[profile], max_attempts=max_attempts)
    temperatures = []
    while not attempts.is_over:
        temperatures.append(attempts.sampling.temperature)
        attempts.add(looping("loop", 0))
    return temperatures


def test_every_profile_says_how_its_pages_are_read_again():
    assert set(RETRIES) == set(PROFILES)
    assert all(RETRIES.values())


def test_the_first_attempt_takes_the_likeliest_tokens():
    for retries in RETRIES.values():
        assert Attempts(retries, max_attempts=3).sampling == GREEDY


def test_chandra_is_read_again_at_one_temperature():
    assert temperatures_of("chandra", max_attempts=4) == [0.0, 0.3, 0.3, 0.3]


def test_chandra_2_is_read_a_fifth_hotter_each_time_up_to_a_bound():
    hotter = [0.0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8]

    assert temperatures_of("chandra-2", max_attempts=7) == hotter


def test_retries_draw_from_the_likelier_tokens_only():
    for retries in RETRIES.values():
        assert {sampling.top_p for sampling in retries} == {0.95}


def test_no_attempt_follows_a_clean_one():
    attempts = Attempts(RETRIES["chandra"], max_attempts=3)

    attempts.add(CLEAN)

    assert attempts.is_over
    assert attempts.best is CLEAN
    assert attempts.num_attempts == 1


def test_a_page_may_be_read_but_once():
    attempts = Attempts(RETRIES["chandra"], max_attempts=1)
    only = looping("loop", 0)

    attempts.add(only)

    assert attempts.is_over
    assert attempts.best is only


def test_a_clean_attempt_counts_even_if_one_that_repeats_itself_says_more():
    attempts = Attempts(RETRIES["chandra"], max_attempts=3)

    attempts.add(looping("x" * 5000, 4000))
    attempts.add(CLEAN)

    assert attempts.is_over
    assert attempts.best is CLEAN


def test_without_a_clean_attempt_the_one_that_says_most_before_its_loop_counts():
    attempts = Attempts(RETRIES["chandra"], max_attempts=3)
    longer_loop, more_text, less_text = (
        looping("a" * 9000, 100),
        looping("b" * 2000, 900),
        looping("c" * 1500, 800),
    )

    for attempt in (longer_loop, more_text, less_text):
        attempts.add(attempt)

    assert attempts.is_over
    assert attempts.best is more_text


def test_the_best_attempt_keeps_all_of_its_text():
    text = "A heading. " + "The same sentence again. " * 100
    attempts = Attempts(RETRIES["chandra"], max_attempts=1)

    attempts.add(
        Attempt(text, FinishReason.REPETITION, 600, find_repetition(text)),
    )

    assert attempts.best.text == text
    assert not attempts.best.is_clean


def test_of_equal_attempts_the_first_counts():
    attempts = Attempts(RETRIES["chandra"], max_attempts=2)
    greedy, drawn = looping("one", 0), looping("two", 0)

    attempts.add(greedy)
    attempts.add(drawn)

    assert attempts.best is greedy


@given(st.lists(st.none() | st.integers(0, 50), min_size=1), st.integers(1, 8))
def test_attempts_end_with_a_clean_one_or_when_all_are_used_up(starts, max_attempts):
    attempts = Attempts((Sampling(0.5),), max_attempts=max_attempts)
    made = []

    for start in starts:
        if attempts.is_over:
            break
        made.append(Attempt("x" * 50, FinishReason.STOP, 50, start))
        attempts.add(made[-1])

    assert attempts.num_attempts == len(made) <= max_attempts
    assert all(not attempt.is_clean for attempt in made[:-1])
    assert attempts.best in made
    assert attempts.best.is_clean == made[-1].is_clean


def test_temperature_sets_the_first_attempt_and_never_falls():
    attempts = Attempts(RETRIES["chandra-2"], max_attempts=9, first=sampling_at(0.5))
    temperatures = []
    while not attempts.is_over:
        temperatures.append(attempts.sampling.temperature)
        attempts.add(looping("loop", 0))

    assert temperatures == [0.5, 0.5, 0.5, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8]


def test_a_temperature_too_low_to_draw_with_is_zero():
    assert sampling_at(0.0) == sampling_at(1e-300) == GREEDY
    assert sampling_at(0.01).temperature == 0.01
