"""Count of tokens per forward pass."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from bench.drafts import (
    WITH_LAYER,
    WITHOUT_DRAFTS,
    WITHOUT_LAYER,
    BundledPage,
    DraftCounts,
    count_forwards,
    load_bundled_pages,
    main,
)
from handler.weights.source import MINI
from tests.handler.engine.drafts.drafting import LetterTokenizer

BOX = '<div data-bbox="[61, 72, 983, 94]" data-label="Text">'
LETTER_PAGE = BundledPage(
    "letter", "Dear people, we have seen it.", f"{BOX}<p>Dear people.</p></div>"
)


class MiniTokenizer:
    """Tokenizer of the embedded checkpoint."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(MINI / "tokenizer.json"))

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids))


def test_without_drafts_each_token_takes_a_forward_pass():
    tokenizer = LetterTokenizer()

    count = count_forwards(LETTER_PAGE, tokenizer, WITHOUT_DRAFTS, 8)

    num_tokens = len(tokenizer.encode(LETTER_PAGE.answer)) + 1
    assert count == DraftCounts(num_tokens, num_tokens, 0, 0)
    assert count.tokens_per_forward == 1
    assert count.acceptance_rate == 0


@pytest.mark.parametrize("mode", [WITHOUT_LAYER, WITH_LAYER])
def test_tokens_are_outputs_or_accepted_drafts(mode):
    count = count_forwards(LETTER_PAGE, LetterTokenizer(), mode, 8)

    assert count.num_forwards + count.num_accepted == count.num_tokens
    assert count.num_drafted >= count.num_accepted > 0


def test_sums_are_weighted_by_tokens():
    total = sum(
        (DraftCounts(90, 30, 80, 60), DraftCounts(10, 10, 20, 0)), DraftCounts()
    )

    assert total == DraftCounts(100, 40, 100, 60)
    assert total.tokens_per_forward == 2.5
    assert total.acceptance_rate == 0.6


def test_real_pages_give_two_tokens_per_forward_pass():
    pages = list(load_bundled_pages())
    tokenizer = MiniTokenizer()

    total = sum(
        (count_forwards(page, tokenizer, WITH_LAYER, 8) for page in pages),
        DraftCounts(),
    )

    assert total.tokens_per_forward >= 2


@pytest.mark.slow
def test_the_command_ends_with_a_json_line(capsys):
    main([])

    assert '"bench": "drafts"' in capsys.readouterr().out.splitlines()[-1]
