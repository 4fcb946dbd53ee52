"""Tokenizer with Qwen's vocabulary and the special tokens that the model needs."""

from __future__ import annotations

import re
from itertools import groupby

from bench.teacher_forcing.vocabulary import QwenVocabulary

__all__ = ["SPECIAL_TOKENS", "QwenTokenizer"]

SPECIAL_TOKENS = {
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<|vision_start|>": 151652,
    "<|vision_end|>": 151653,
    "<|image_pad|>": 151655,
}
"""Special tokens of a page's chat. All ids below the first one are text."""
_FIRST_SPECIAL = min(SPECIAL_TOKENS.values())
_SPECIAL = re.compile(f"({'|'.join(map(re.escape, SPECIAL_TOKENS))})")


class QwenTokenizer:
    """Subset of a transformers tokenizer that `Model` uses."""

    def __init__(self) -> None:
        self._vocabulary = QwenVocabulary()
        self._names = {number: name for name, number in SPECIAL_TOKENS.items()}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Encode a text with its special tokens; none are added."""
        ids: list[int] = []
        for part in _SPECIAL.split(text):
            if part in SPECIAL_TOKENS:
                ids.append(SPECIAL_TOKENS[part])
            elif part:
                ids += self._vocabulary.encode(part)
        return ids

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        """Decode ids; unknown special tokens become empty strings."""
        parts = []
        for is_text, group in groupby(ids, key=lambda number: number < _FIRST_SPECIAL):
            if is_text:
                parts.append(self._vocabulary.decode(list(group)))
            elif not skip_special_tokens:
                parts += [self._names.get(number, "") for number in group]
        return "".join(parts)
