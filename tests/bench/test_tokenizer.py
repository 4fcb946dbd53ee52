"""Tokenizer with Qwen's vocabulary."""

from __future__ import annotations

from bench.teacher_forcing.tokenizer import QwenTokenizer
from handler.prompts import chat


def test_a_chat_is_tokenised_with_its_special_tokens():
    tokenizer = QwenTokenizer()
    ids = tokenizer.encode(chat("Read.", 3))

    assert ids.count(151655) == 3
    assert tokenizer.decode(ids) == chat("Read.", 3)
    assert tokenizer.decode([*ids, 151_900], skip_special_tokens=True) == (
        "user\nRead.\nassistant\n"
    )
