"""What followed the last time."""

from __future__ import annotations

from handler.engine.drafts.ngrams import NgramProposer


def ngrams(*tokens: int) -> NgramProposer:
    known = NgramProposer()
    for token in tokens:
        known.append(token)
    return known


def test_tokens_after_the_same_ngram_are_proposed_again():
    assert ngrams(1, 2, 3, 4, 5, 1, 2).propose(3, min_length=2) == [3, 4, 5]


def test_the_longest_run_decides():
    known = ngrams(9, 1, 2, 3, 7, 8, 1, 2, 4, 9, 1, 2)

    assert known.propose(1, min_length=2) == [3]


def test_of_equal_runs_the_last_one_decides():
    assert ngrams(1, 2, 3, 1, 2, 4, 1, 2).propose(1, min_length=2) == [4]


def test_a_run_shorter_than_asked_for_says_nothing():
    assert ngrams(1, 2, 3, 1, 2).propose(1, min_length=3) == []


def test_what_was_not_said_before_says_nothing():
    assert ngrams(1, 2, 3, 4).propose(5, min_length=2) == []


def test_what_repeats_itself_goes_on():
    assert ngrams(5, 1, 2, 1, 2).propose(7, min_length=2) == [1, 2, 1, 2, 1, 2, 1]


def test_a_draft_is_continued_like_output():
    known = ngrams(1, 2, 3, 4, 5, 9)

    assert known.propose(2, min_length=2, draft=[1, 2]) == [3, 4]
