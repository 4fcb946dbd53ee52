"""N-gram drafts."""

from __future__ import annotations

from handler.engine.drafts.ngrams import NgramProposer


def create_proposer(*tokens: int) -> NgramProposer:
    proposer = NgramProposer()
    for token in tokens:
        proposer.append(token)
    return proposer


def test_tokens_after_the_same_ngram_are_proposed_again():
    assert create_proposer(1, 2, 3, 4, 5, 1, 2).propose(3, min_length=2) == [3, 4, 5]


def test_the_longest_ngram_is_preferred():
    proposer = create_proposer(9, 1, 2, 3, 7, 8, 1, 2, 4, 9, 1, 2)

    assert proposer.propose(1, min_length=2) == [3]


def test_the_last_occurrence_is_preferred():
    assert create_proposer(1, 2, 3, 1, 2, 4, 1, 2).propose(1, min_length=2) == [4]


def test_ngrams_below_the_minimum_length_are_ignored():
    assert create_proposer(1, 2, 3, 1, 2).propose(1, min_length=3) == []


def test_new_tokens_give_no_draft():
    assert create_proposer(1, 2, 3, 4).propose(5, min_length=2) == []


def test_repetition_is_continued():
    assert create_proposer(5, 1, 2, 1, 2).propose(7, min_length=2) == [
        1,
        2,
        1,
        2,
        1,
        2,
        1,
    ]


def test_a_draft_is_continued_like_output():
    proposer = create_proposer(1, 2, 3, 4, 5, 9)

    assert proposer.propose(2, min_length=2, draft=[1, 2]) == [3, 4]
