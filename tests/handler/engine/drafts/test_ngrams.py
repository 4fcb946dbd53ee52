"""N-gram drafts."""

from __future__ import annotations

from handler.engine.drafts.ngrams import NgramProposer


def ngrams(*tokens: int) -> NgramProposer:
    known = NgramProposer()
    for token in tokens:
        known.append(token)
    return known


def test_tokens_after_the_same_ngram_are_proposed_again():
    assert ngrams(1, 2, 3, 4, 5, 1, 2).propose(3, min_length=2) == [3, 4, 5]


def test_the_longest_ngram_is_preferred():
    known = ngrams(9, 1, 2, 3, 7, 8, 1, 2, 4, 9, 1, 2)

    assert known.propose(1, min_length=2) == [3]


def test_the_last_occurrence_is_preferred():
    assert ngrams(1, 2, 3, 1, 2, 4, 1, 2).propose(1, min_length=2) == [4]


def test_ngrams_below_the_minimum_length_are_ignored():
    assert ngrams(1, 2, 3, 1, 2).propose(1, min_length=3) == []


def test_new_tokens_give_no_draft():
    assert ngrams(1, 2, 3, 4).propose(5, min_length=2) == []


def test_repetition_is_continued():
    assert ngrams(5, 1, 2, 1, 2).propose(7, min_length=2) == [1, 2, 1, 2, 1, 2, 1]


def test_a_draft_is_continued_like_output():
    known = ngrams(1, 2, 3, 4, 5, 9)

    assert known.propose(2, min_length=2, draft=[1, 2]) == [3, 4]
